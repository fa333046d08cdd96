"""Pseudo label: which texts are chosen, which are never trained on, and what their targets are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes import UserError
from recipes.api import FinishedRun
from recipes.data.splits import read_splits
from recipes.loop import TrainingRun
from recipes.metrics import Predictions
from recipes.testing import (
    build_tricks,
    finished_run,
    in_child,
    make_text_file,
    temporary_folder,
    tiny_config,
    tiny_run,
)
from tricks.pre_training.pseudo_label import choose_rows

SURE = [[0.9, 0.05, 0.05], [0.2, 0.6, 0.2], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1]]


def answers(probabilities: Sequence[Sequence[float]], multi_label: bool = False) -> Predictions:
    values = np.array(probabilities, np.float32)
    decisions = values >= 0.5 if multi_label else values == values.max(1, keepdims=True)
    ids = [str(row) for row in range(len(values))]
    return Predictions(ids, [None] * len(ids), values, decisions.astype(np.int8), ["x", "y", "z"], multi_label)


@pytest.mark.parametrize(
    ("confidence", "most", "rows"),
    [
        (0.0, None, [0, 1, 2, 3, 4]),
        (0.7, None, [0, 3, 4]),
        (0.0, 2, [0, 1, 3, 4]),  # the third of class x is the least sure one
        (0.0, 1, [0, 1, 3]),
        (0.95, None, []),
    ],
)
def test_the_surest_rows_of_each_class_are_chosen(confidence: float, most: int | None, rows: list[int]) -> None:
    assert choose_rows(answers(SURE), confidence, most) == rows


def test_with_more_than_one_label_a_row_is_as_sure_as_its_least_sure_class() -> None:
    # Sureness 0.8, 0.6 and 0.9; the first two count for x, the last one for nothing.
    rows = answers([[0.9, 0.8, 0.1], [0.6, 0.1, 0.1], [0.1, 0.1, 0.1]], multi_label=True)
    assert choose_rows(rows, 0.0, None) == [0, 1, 2]
    assert choose_rows(rows, 0.8, None) == [0, 2]
    assert choose_rows(rows, 0.0, 1) == [0, 2]
    # Texts without a label are capped like those of a class.
    none = answers([[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.3, 0.1, 0.1]], multi_label=True)
    assert choose_rows(none, 0.0, 2) == [0, 1]


def texts_of(split: int) -> list[str]:
    lines = make_text_file(12, split).read_text(encoding="utf-8").splitlines()[1:]
    return [line.partition(",")[0] for line in lines]


def write_texts(folder: Path, *texts: str) -> Path:
    path = folder / "texts.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def trained(texts: Path, *overrides: str) -> tuple[list[dict[str, Any]], np.ndarray, list[str]]:
    """The rows that are added, their targets, and the notes of the run."""
    values = {"unlabelled_file": texts, "teacher": finished_run()}
    settings = [f"tricks.pseudo_label.{name}={value}" for name, value in values.items()]
    config = tiny_config("+tricks=[pseudo_label]", *settings, *overrides)

    def set_up() -> tuple[list[dict[str, Any]], np.ndarray, list[str]]:
        splits = read_splits(config.data, {}, config.evaluate.test)
        with temporary_folder() as folder:
            run = TrainingRun(config, build_tricks(config.tricks), splits, folder)
        own = len(run.splits.train)
        rows = [row for row in run.train.examples if row["id"].startswith("unlabelled:")]
        targets = run.train.collate(np.arange(own, len(run.train)), 0, 0).targets.numpy()
        labels = run.train.collate(np.arange(own), 0, 0).targets.numpy()
        assert ((labels == 0) | (labels == 1)).all()
        return rows, targets, [note for note in run.notes if note.startswith("pseudo_label")]

    return in_child(set_up)


NEW = ("one new text about a1 a2", "two new texts about b1 b2 b3", "three c1 c2 c3 c4 c5 c6")


@pytest.mark.parametrize("targets", ["soft", "confident"])
def test_targets_are_the_teachers(targets: str, tmp_path: Path) -> None:
    settings = [f"tricks.pseudo_label.targets={targets}", "tricks.pseudo_label.confidence=0"]
    rows, actual, notes = trained(write_texts(tmp_path, *NEW), *settings)
    expected = in_child(lambda: FinishedRun(finished_run()).predict(list(NEW)).probabilities)
    assert [row["text"] for row in rows] == list(NEW)
    assert [row["label"] for row in rows] == [("x", "y", "z")[index] for index in expected.argmax(1)]
    assert actual == pytest.approx(expected if targets == "soft" else np.eye(3)[expected.argmax(1)], abs=1e-6)
    assert f"3 of 3 texts added with {targets} targets" in notes[1]


@pytest.mark.slow
def test_rows_of_other_splits_and_training_rows_are_never_added(tmp_path: Path) -> None:
    training, validation, test = (max(texts_of(split), key=len) for split in range(3))
    leaks = [training, training.upper(), validation, f"{validation}!", test, f"{test}!"]
    rows, _, notes = trained(write_texts(tmp_path, *leaks, NEW[0], NEW[0].upper()))
    assert [row["text"] for row in rows] == [NEW[0]]
    assert "7 of 8 texts are left out" in notes[0] and "evaluate.test=false" not in notes[1]
    rows, _, notes = trained(write_texts(tmp_path, test, NEW[0]), "evaluate.test=false")
    assert [row["text"] for row in rows] == [test, NEW[0]]
    assert "with evaluate.test=false test is not read" in notes[1]


def refusal(*overrides: str) -> str:
    config = tiny_config("+tricks=[pseudo_label]", *overrides)
    with pytest.raises(UserError) as error, temporary_folder() as folder:
        tiny_run(config, folder)
    return str(error.value)


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    texts, run = write_texts(tmp_path, *NEW), f"tricks.pseudo_label.teacher={finished_run()}"
    file = f"tricks.pseudo_label.unlabelled_file={texts}"
    assert "tricks.pseudo_label.teacher is not set" in refusal(file)
    assert "tricks.pseudo_label.unlabelled_file is not set" in refusal(run)
    labelled = f"tricks.pseudo_label.unlabelled_file={make_text_file(12, 7)}"
    assert "of its 44 rows have a label" in refusal(run, labelled)
    sure = ["tricks.pseudo_label.targets=confident", "tricks.pseudo_label.confidence=1"]
    assert "the teacher is not so sure of any of 3 texts" in refusal(run, file, *sure)
    write_texts(tmp_path, *texts_of(0))
    assert "each of its texts is in training, validation or test" in refusal(run, file)
