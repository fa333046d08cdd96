"""A teacher: whom it may teach, what it answers, and when its answers are computed again."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from scipy.special import expit, softmax

from recipes.api import FinishedRun
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.prediction import teacher
from recipes.prediction.teacher import Teacher, soften
from recipes.runs import manifest
from recipes.runs.folder import RunFolder
from recipes.testing import finish_once, finished_run, in_child, temporary_folder, tiny_config, tiny_run

SETTING = "tricks.distill.teacher"
ROWS = Dataset.from_dict({"id": ["1", "2"], "text": ["a1 w2", "b3"], "text_pair": [None, None]})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))
    return tmp_path / "trickbook" / teacher.CACHE


def refusal(folder: str | None) -> str:
    with pytest.raises(UserError) as error:
        Teacher(folder, SETTING)
    return str(error.value)


def copied_run(folder: Path) -> Path:
    shutil.copytree(finished_run(), folder, ignore=shutil.ignore_patterns(".lock"))
    return folder


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    assert f"{SETTING} is not set" in refusal(None) and f"{SETTING}=runs/<name>" in refusal(None)
    message = f"{SETTING}={tmp_path} holds no finished run (there is no manifest.json); give the folder of one: "
    assert refusal(str(tmp_path)) == f"{message}{SETTING}=runs/<name>."
    damaged = copied_run(tmp_path / "damaged")
    (damaged / "model" / "model.safetensors").write_bytes(b"")
    assert "is damaged" in refusal(str(damaged))
    shutil.rmtree(damaged / "model")
    manifest.write(damaged)
    assert "has no model" in refusal(str(damaged)) and SETTING in refusal(str(damaged))


def test_every_difference_of_the_task_is_named_with_both_sides() -> None:
    run = Teacher(str(finished_run()), SETTING)
    run.require_task(["z", "x", "y"], False, False)
    with pytest.raises(UserError) as error:
        run.require_task(["x", "y", "other"], True, True)
    classes, labels, texts = error.value.problems
    assert "its classes are x, y, z, those of this data are x, y, other" in classes
    assert "only the teacher has 'z' and only this data has 'other'" in classes
    assert "one label, those of this data more than one label" in labels
    assert "single texts, and this data has pairs of texts" in texts
    assert all("Use a run" in problem for problem in error.value.problems)


def test_it_answers_in_the_order_of_the_classes_and_is_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = FinishedRun(finished_run()).predict(list(ROWS["text"])).probabilities
    answers = Teacher(str(finished_run()), SETTING).predict(ROWS, ["z", "x", "y"])
    assert answers.probabilities[:, [1, 2, 0]] == pytest.approx(expected, abs=1e-6)
    assert answers.decisions.argmax(1).tolist() == answers.probabilities.argmax(1).tolist()
    monkeypatch.setattr(teacher, "predict_once", lambda *_: pytest.fail("it was asked again"))
    again = Teacher(str(finished_run()), SETTING).predict(ROWS, ["z", "x", "y"])
    assert (again.probabilities == answers.probabilities).all()
    assert (again.decisions == answers.decisions).all()
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"PK cut off"])
def test_a_damaged_cache_is_made_again(content: bytes, cache: Path) -> None:
    first = Teacher(str(finished_run()), SETTING).predict(ROWS, ["x", "y", "z"])
    (file,) = cache.iterdir()
    file.write_bytes(content)
    again = Teacher(str(finished_run()), SETTING).predict(ROWS, ["x", "y", "z"])
    assert (again.probabilities == first.probabilities).all()
    with np.load(file) as cached:
        assert len(cached.files) == 2


def test_other_texts_other_classes_or_another_model_are_asked_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied_run(tmp_path / "run")

    def ask(rows: Dataset = ROWS, classes: str = "xyz", run: Path = folder) -> int:
        Teacher(str(run), SETTING).predict(rows, list(classes))
        return len(list(cache.iterdir()))

    monkeypatch.setattr(teacher, "predict_once", predict_evenly)
    assert ask() == ask() == 1
    assert ask(ROWS.select([1, 0])) == 2
    assert ask(classes="yxz") == 3
    weights = folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    manifest.write(folder)
    assert ask() == 4
    assert ask(run=finished_run()) == 4  # the same model in another folder is the same teacher


def predict_evenly(folder: Path, texts: list[str], pairs: None, ids: list[str]) -> Predictions:
    even = np.full((len(texts), 3), 1 / 3, np.float32)
    return Predictions(ids, [None] * len(ids), even, even > 1, ["x", "y", "z"], False)


@pytest.mark.slow
def test_a_fused_run_and_a_linear_one_teach_too() -> None:
    members = '["train.max_updates=2", linear]'
    fused = finish_once(tiny_config("+tricks=[fusion]", "tricks.fusion.folds=1", f"tricks.fusion.members={members}"))
    run = Teacher(str(fused["folder"]), SETTING)
    assert len(run.members) == 2
    for each in (run, *(Teacher(str(member), SETTING) for member in run.members)):
        assert each.classes == ["x", "y", "z"]
        expected, answers = in_child(partial(ask_twice, each))
        assert answers == pytest.approx(expected, abs=1e-6)


def ask_twice(run: Teacher) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of a finished run, and those that it teaches."""
    probabilities = FinishedRun(run.run.folder).predict(list(ROWS["text"])).probabilities
    return probabilities, run.predict(ROWS, run.classes).probabilities


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_temperature_divides_the_logits(multi_label: bool) -> None:
    logits = np.array([[4.0, 0.0, -2.0], [1.0, 3.0, 3.0]])
    squash: Any = expit if multi_label else lambda values: softmax(values, axis=-1)
    answers = squash(logits).astype(np.float32)
    predictions = Predictions(["1", "2"], [None] * 2, answers, answers > 0.5, ["x", "y", "z"], multi_label)
    assert soften(predictions, 2.0) == pytest.approx(squash(logits / 2), abs=1e-5)
    assert soften(predictions, 1.0) == pytest.approx(answers, abs=1e-6)


def test_a_weak_teacher_and_rows_that_it_may_have_seen_are_reported(tmp_path: Path) -> None:
    other = tiny_config("train.max_updates=2", longest=9)
    split = ["data.validation=null", "data.split_seed=1"]

    def warnings() -> list[list[str]]:
        run = Teacher(str(finished_run()), SETTING)
        with temporary_folder() as folder:
            same = tiny_run(other, folder)
            elsewhere = tiny_run(tiny_config(*split, longest=9), folder)
            other_rows = tiny_run(tiny_config(*split), folder)
        run.run.metrics["health"] = {"headline": "learned"}
        found = [list(run.check(each)) for each in (same, elsewhere, other_rows)]
        run.run.metrics["health"] = {"headline": "collapsed"}
        return [*found, list(run.check(same))]

    same, elsewhere, other_rows, collapsed = in_child(warnings)
    assert same == other_rows == []
    assert len(collapsed) == 1 and "it predicts one class for nearly all texts" in collapsed[0]
    (warning,) = elsewhere
    assert "data.validation=" in warning and "null here" in warning and "use a teacher with the same splits" in warning
    assert RunFolder(finished_run()).config["data"]["split_seed"] == 0
