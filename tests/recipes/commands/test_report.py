"""`trickbook report` writes a page and replaces no other file."""

from pathlib import Path

import pytest

from recipes.commands.report import main
from recipes.errors import UserError
from recipes.testing import finished_run, in_child


def test_the_page_of_a_run(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    for _ in range(2):  # its own page may be replaced
        in_child(lambda: main([str(finished_run()), f"--output={target}"]))
    assert "<html" in target.read_text(encoding="utf-8")


def test_no_other_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"
    target.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="exists and is not such a page"):
        main([str(finished_run()), f"--output={target}"])
    with pytest.raises(UserError, match="A page of 2 runs needs a file to write"):
        main([str(finished_run()), str(finished_run())])
    assert target.read_text(encoding="utf-8") == "mine"
