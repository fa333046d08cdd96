"""Commands are named as the user can type them; output that goes to a notebook is recognised."""

import io
import sys
from pathlib import Path

import pytest

from recipes.runtime import program
from recipes.runtime.program import in_notebook, is_terminal, name_command


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


def test_the_output_of_a_kernel_goes_to_a_notebook_and_to_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    output = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream", "isatty": lambda self: True})()
    monkeypatch.setattr(sys, "stdout", output)
    assert in_notebook() and not is_terminal(output)
    terminal = type("Terminal", (io.StringIO,), {"isatty": lambda self: True})()
    assert is_terminal(terminal) and not is_terminal(io.StringIO())
