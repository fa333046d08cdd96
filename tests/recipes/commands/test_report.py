"""`trickbook report` writes a page and replaces no other file."""

from pathlib import Path

import pytest

from recipes.api import finetune_config
from recipes.commands.report import main
from recipes.errors import UserError
from recipes.testing import finished_run, in_child, tiny_config


def test_the_page_of_a_run(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    for _ in range(2):  # its own page may be replaced
        in_child(lambda: main([str(finished_run()), f"--output={target}"]))
    assert "<html" in target.read_text(encoding="utf-8")


def test_no_other_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"
    target.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="exists and is not a page of a run"):
        main([str(finished_run()), f"--output={target}"])
    with pytest.raises(UserError, match="A page of 2 runs needs a file to write"):
        main([str(finished_run()), str(finished_run())])
    assert target.read_text(encoding="utf-8") == "mine"


def test_a_run_that_diverged_has_a_page_and_is_compared_with_none(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    overrides = ("train.learning_rate=1e30", "train.clip_norm=null", "train.max_updates=9", "doctor=off")

    def diverge() -> None:
        with pytest.raises(UserError, match="training diverged"):
            finetune_config(tiny_config(*overrides), folder)

    in_child(diverge)
    in_child(lambda: main([str(folder)]))
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "training diverged" in text and "What to do next" in text
    with pytest.raises(UserError, match="holds no finished run"):
        main([str(folder), str(finished_run())])
