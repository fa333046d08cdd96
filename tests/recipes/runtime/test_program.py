"""Commands are named as the user can type them."""

from pathlib import Path

import pytest

from recipes.runtime import program
from recipes.runtime.program import name_command


@pytest.mark.parametrize(
    ("started", "predict", "train"),
    [
        ("/usr/bin/trickbook", "trickbook predict", "trickbook train"),
        ("C:/Scripts/trickbook.exe", "trickbook predict", "trickbook train"),
        ("train.py", "python scripts/predict.py", "python train.py"),
        ("", "python scripts/predict.py", "python train.py"),  # a notebook in a checkout
    ],
)
def test_in_a_checkout(started: str, predict: str, train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [started])
    assert (name_command("predict"), name_command("train")) == (predict, train)


def test_where_it_is_installed_there_are_no_files_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["notebook.py"])
    monkeypatch.setattr(program, "ROOT", tmp_path)
    assert name_command("report") == "trickbook report"
