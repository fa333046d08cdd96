"""The demonstration's commands to try next are valid as they are printed."""

import os
import runpy
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from recipes.compose.arguments import prepare_arguments
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.testing import finished_run, in_child

ROOT = Path(__file__).parents[1]


def run_as_printed(command: str) -> str:
    """What a command prints, which may read what `echo` writes. It runs in a forked child: a fresh process is slow."""
    echo, pipe, program = command.rpartition(" | ")
    python, *arguments = shlex.split(program)
    assert Path(python).resolve() == Path(sys.executable).resolve()
    text = " ".join(shlex.split(echo)[1:]) + "\n" if pipe else ""

    def run_program() -> str:
        with tempfile.TemporaryFile("w+") as source, tempfile.TemporaryFile("w+") as printed:
            source.write(text)
            source.seek(0)
            os.dup2(source.fileno(), 0)
            os.dup2(printed.fileno(), 1)
            sys.stdin, sys.stdout = (os.fdopen(number, mode, closefd=False) for number, mode in ((0, "r"), (1, "w")))
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
            sys.stdout.flush()
            printed.seek(0)
            return printed.read()

    return in_child(run_program)


def test_the_page_and_the_prediction_work_as_printed(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    folder = finished_run()
    page, prediction, _ = script("demo").next_commands(folder).values()
    assert "report.html" in run_as_printed(page)
    assert '"prediction":' in run_as_printed(prediction)
    assert (folder / "report.html").is_file()


def test_the_study_is_composed_as_printed(script: Callable[[str], ModuleType]) -> None:
    *_, study = script("demo").next_commands(Path("runs/mine")).values()
    program, *arguments = shlex.split(study)[1:]
    assert program == "train.py"
    words = prepare_arguments(arguments)
    assert "-m" in words
    read(compose_config([word for word in words if word != "-m" and "hydra" not in word])[0])
