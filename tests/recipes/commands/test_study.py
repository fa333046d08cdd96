"""A study from Python is that of the command line: the same folders, the same runs, the same verdicts."""

from pathlib import Path
from typing import Any

import pytest

import recipes
from recipes.ablation import study
from recipes.cli import carry_past_hydra
from recipes.commands import train
from recipes.errors import InputsChanged
from recipes.testing import TINY, in_child, make_text_file

LINES = make_text_file(12).read_text().splitlines()[1:]
ROWS = [dict(zip(("review", "stars"), line.split(","), strict=True)) for line in LINES]
SETTINGS: dict[str, Any] = {"train": ROWS, "text": "review", "label": "stars", "tricks": ["ema"], "seeds": 2}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each study is started with; none is run."""
    studies: list[dict[str, Any]] = []

    def run_study(arguments: list[str], **settings: Any) -> None:
        studies.append({"arguments": arguments, **settings})

    monkeypatch.setattr(study, "run_study", run_study)
    return studies


def test_settings_of_a_study_and_of_its_runs(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    result = recipes.ablate(
        ["train.learning_rate=1e-5,1e-4"], **SETTINGS, model="tiny", margin=0.5, lengths=[1, 2], folder=tmp_path
    )
    (call,) = calls
    assert call["values"]["seeds"] == 2 and call["values"]["margin"] == 0.5 and call["values"]["lengths"] == [1, 2]
    *_, path = sorted(call["arguments"], key=lambda line: line.startswith("data.train="))
    others = [line for line in call["arguments"] if line != path]
    assert sorted(others) == [
        "+tricks=[ema]",
        "data.label=stars",
        "data.text=review",
        "data=files",
        "model=tiny",
        "train.learning_rate=1e-5,1e-4",
    ]
    assert result.folder == tmp_path == Path(call["master"].hydra.sweep.dir) and result.findings is None


def test_the_folder_is_named_by_what_decides_the_runs(calls: list[dict[str, Any]]) -> None:
    first, more_seeds, other = (
        recipes.ablate(**{**SETTINGS, **changes}).folder
        for changes in ({}, {"seeds": 5, "confirm": False}, {"tricks": ["swa"]})
    )
    assert first == more_seeds != other and first.parent == Path("runs") and first.name.startswith("ablation-")
    assert recipes.ablate(["hydra.sweep.dir=runs/mine"], **SETTINGS).folder == Path("runs/mine")


@pytest.mark.slow
def test_mistakes_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(recipes.UserError, match=r"hydra\.sweeper\.seeds must be an integer"):
        recipes.ablate(**{**SETTINGS, "seeds": 0})
    with pytest.raises(recipes.UserError, match="tricks=emma: there is no such trick; did you mean ema"):
        recipes.ablate(**{**SETTINGS, "tricks": ["emma"]})
    with pytest.raises(recipes.UserError, match="sedes: there is no such setting; did you mean seeds"):
        recipes.ablate(**SETTINGS, sedes=1)


@pytest.mark.slow
def test_a_study_is_that_of_the_command_line(tmp_path: Path) -> None:
    def work() -> tuple[list[str], dict[str, Any], str, str]:
        settings = {**SETTINGS, "confirm": False, "check_base": False, "folder": tmp_path / "study"}
        overrides = [*TINY[1:], "train.max_updates=6", "train.threads=1"]
        result = recipes.ablate(overrides, **settings)
        path = next(iter(result.folder.glob("*/config.yaml"))).read_text().split("train: ")[1].split()[0]
        written = (result.folder / "runs.csv").read_text()
        times = [folder.stat().st_mtime_ns for folder in sorted(result.folder.glob("*/manifest.json"))]
        of_study = ["hydra/sweeper=ablation", "hydra.sweeper.seeds=2", "hydra.sweeper.confirm=false"]
        of_study += ["hydra.sweeper.check_base=false", f"hydra.sweep.dir={result.folder}"]
        of_data = ["data=files", f"data.train={path}", "data.text=review", "data.label=stars"]
        train.main(["-m", *overrides, *of_data, "+tricks=[ema]", *of_study])
        assert times == [folder.stat().st_mtime_ns for folder in sorted(result.folder.glob("*/manifest.json"))]
        return (
            list(result.verdicts["name"]),
            dict(result.verdicts.iloc[0]),
            written,
            (result.folder / "runs.csv").read_text(),
        )

    names, row, from_python, from_command_line = in_child(work)
    assert names == ["ema"] and row["verdict"] and from_python == from_command_line
    assert from_python.count("\n") == 5 and from_python.count("finished") == 4


def test_inputs_that_change_while_a_study_runs_are_an_error_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_study(*arguments: Any, **settings: Any) -> None:
        with carry_past_hydra([], True):
            raise InputsChanged("data.train has changed")

    monkeypatch.setattr(study, "run_study", run_study)
    with pytest.raises(recipes.UserError, match=r"data\.train has changed"):
        recipes.ablate(**SETTINGS)
