"""The demonstration's commands to try next are valid as they are printed."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from recipes.compose.arguments import prepare_arguments
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.testing import finished_run

ROOT = Path(__file__).parents[1]


def test_the_page_and_the_prediction_work_as_printed(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    folder = finished_run()
    page, prediction, _ = script("demo").next_commands(folder).values()
    for command, expected in ((page, "report.html"), (prediction, '"prediction":')):
        result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result
        assert expected in result.stdout
    assert (folder / "report.html").is_file()


def test_the_study_is_composed_as_printed(script: Callable[[str], ModuleType]) -> None:
    *_, study = script("demo").next_commands(Path("runs/mine")).values()
    program, *arguments = shlex.split(study)[1:]
    assert program == "train.py"
    words = prepare_arguments(arguments)
    assert "-m" in words
    read(compose_config([word for word in words if word != "-m" and "hydra" not in word])[0])
