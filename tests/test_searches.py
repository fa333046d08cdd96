"""The searches of `conf/search`, with the tiny model."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from recipes.config import CONF
from tests.test_command_line import FILE, TEXT, TINY, run_to_end, run_train

SEARCHES = {path.stem: path for path in (CONF / "search").glob("*.yaml")}
SHORT = ("train.max_updates=2", "doctor=off")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which the command runs; it has a `text.csv`."""
    (tmp_path / "text.csv").write_text("text,label\n" + TEXT)
    return tmp_path


def test_all_searches_have_a_test() -> None:
    assert set(SEARCHES) == {"learning_rate", "tricks", "everything"}


@pytest.mark.parametrize("name", SEARCHES)
def test_the_header_of_a_search_has_its_command(name: str) -> None:
    assert f"#   python train.py -m search={name} " in SEARCHES[name].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_saves_no_models(name: str) -> None:
    assert yaml.safe_load(SEARCHES[name].read_text(encoding="utf-8"))["checkpoint"] == {"save_model": False}


def runs(folder: Path, name: str) -> int:
    return len(list((folder / "runs" / name).glob("*/metrics.json")))


@pytest.mark.slow
def test_the_grid_runs_every_combination(folder: Path) -> None:
    tiny = [each for each in TINY if "batch_size" not in each]
    run_to_end(folder, "-m", "search=learning_rate", *FILE, *tiny, *SHORT)
    assert runs(folder, "learning_rate") == 8


def trials(folder: Path, study: str) -> Sequence[float | None]:
    import optuna

    return [
        trial.value for trial in optuna.load_study(study_name=study, storage=f"sqlite:///{folder}/optuna.db").trials
    ]


@pytest.mark.slow
def test_optuna_resumes_from_its_storage(folder: Path) -> None:
    for count in (2, 3):
        result = run_train(folder, "-m", "search=tricks", *FILE, *TINY, *SHORT, f"hydra.sweeper.n_trials={count}")
        assert result.code == 0, result
    assert runs(folder, "search_tricks") == 5
    scores = trials(folder, "tricks")
    assert len(scores) == 5
    assert all(value is not None and 0 <= value <= 1 for value in scores)


@pytest.mark.slow
def test_optuna_searches_tricks_and_settings(folder: Path) -> None:
    tiny = [each for each in TINY if "batch_size" not in each and "epochs" not in each]
    result = run_train(folder, "-m", "search=everything", *FILE, *tiny, *SHORT, "hydra.sweeper.n_trials=3")
    assert result.code == 0, result
    assert 1 <= runs(folder, "search_everything") <= 3
    assert len(trials(folder, "everything")) == 3
