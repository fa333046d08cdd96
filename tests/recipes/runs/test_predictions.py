"""Predictions as CSV are read back equal, any name and every score."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes.errors import UserError
from recipes.metrics import Predictions, measure
from recipes.runs.predictions import label_cell, parse_labels, read_columns, read_predictions, write_predictions


def predictions(labels: list[Any], decisions: list[list[int]], multi_label: bool) -> Predictions:
    probabilities = np.array([[0.25, 0.75], [0.9, 0.1]], dtype=np.float32)
    classes = ["neg", "pos"]
    return Predictions(["a,1", "b"], labels, probabilities, np.array(decisions, dtype=np.int8), classes, multi_label)


def test_the_csv_of_single_label_predictions(tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions" / "test.csv", predictions(["pos", None], [[0, 1], [1, 0]], False))
    with (tmp_path / "predictions" / "test.csv").open(newline="") as lines:
        assert list(csv.reader(lines)) == [
            ["id", "label", "prediction", "p_neg", "p_pos"],
            ["a,1", "pos", "pos", "0.25", "0.75"],
            ["b", "", "neg", "0.9", "0.1"],
        ]


def test_the_csv_of_multi_label_predictions(tmp_path: Path) -> None:
    write_predictions(tmp_path / "test.csv", predictions([["neg", "pos"], []], [[1, 1], [0, 0]], True))
    with (tmp_path / "test.csv").open(newline="") as lines:
        assert [row[1:3] for row in csv.reader(lines)][1:] == [["neg|pos", "neg|pos"], ["", ""]]


@pytest.mark.parametrize("multi_label", [False, True])
def test_predictions_are_read_as_they_were_written(multi_label: bool, tmp_path: Path) -> None:
    labels: list[Any] = [["neg", "pos"], []] if multi_label else ["pos", None]
    before = predictions(labels, [[1, 1], [0, 0]] if multi_label else [[0, 1], [1, 0]], multi_label)
    write_predictions(tmp_path / "test.csv", before)
    after = read_predictions(tmp_path / "test.csv", multi_label)
    assert (after.ids, after.labels, after.classes) == (before.ids, before.labels, before.classes)
    assert after.multi_label == multi_label
    assert np.array_equal(after.probabilities, before.probabilities)
    assert np.array_equal(after.decisions, before.decisions)


@pytest.mark.parametrize(("multi_label", "decisions"), [(False, [[0, 1], [1, 0]]), (True, [[1, 1], [0, 0]])])
def test_a_class_is_not_read_as_another_one_whose_name_contains_it(
    multi_label: bool, decisions: list[list[int]], tmp_path: Path
) -> None:
    labels: list[Any] = [["po"], []] if multi_label else ["pos", None]
    probabilities = np.array([[0.25, 0.75], [0.9, 0.1]], dtype=np.float32)
    classes = ["po", "pos"]
    before = Predictions(["a", "b"], labels, probabilities, np.array(decisions, dtype=np.int8), classes, multi_label)
    write_predictions(tmp_path / "test.csv", before)
    after = read_predictions(tmp_path / "test.csv", multi_label)
    assert (after.labels, after.decisions.tolist(), after.multi_label) == (labels, decisions, multi_label)
    assert (after.ids, after.classes) == (["a", "b"], classes)
    np.testing.assert_array_equal(after.probabilities, probabilities)


# Names that a CSV file, a join by `|` or a column's name may take for something else.
NASTY = ["a|b", "a", "b", "a,b", '"', "'", "a\nb", "a\rb", "a\r\nb", "a\tb", "a\u2028b", "p_", "p_a", "id", "label"]
NASTY += ["prediction", "😀", "\\", "\\|", "\\N", "|", "[]", "null", " x ", "#", "文本", "accuracy", "test"]


@pytest.mark.parametrize("multi_label", [False, True])
def test_any_name_and_any_score_is_read_back_equal(multi_label: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [*NASTY, "unseen|\\"]
    # Rows with very small numbers, and rows in which all classes are equal.
    probabilities = random.random((90, len(NASTY))).astype(np.float32) ** random.integers(1, 30, (90, 1))
    probabilities[:5] = 1 / 3
    labels: list[Any] = [names[row % len(names)] for row in range(89)]
    decisions = np.eye(len(NASTY), dtype=np.int8)[probabilities.argmax(1)]
    if multi_label:
        labels = [[name, *names[:row]][:4] if row else [] for row, name in enumerate(labels)]
        labels = [list(dict.fromkeys(names)) for names in labels]
        decisions = (probabilities > 0.5).astype(np.int8)
    ids = [NASTY[row] if row < len(NASTY) else str(row) for row in range(90)]
    before = Predictions(ids, [*labels, None], probabilities.astype(np.float32), decisions, NASTY, multi_label)
    write_predictions(tmp_path / "test.csv", before)
    after = read_predictions(tmp_path / "test.csv", multi_label)
    assert (after.ids, after.labels, after.classes) == (before.ids, before.labels, before.classes)
    assert (after.names(), after.multi_label) == (before.names(), multi_label)
    assert np.array_equal(after.probabilities, before.probabilities)
    assert measure(after) == measure(before)


def test_damaged_predictions_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    write_predictions(path, predictions(["pos", None], [[0, 1], [1, 0]], False))
    content = path.read_text(encoding="utf-8")
    for damaged in (content[:-9], content.replace("pos,pos", "pos,bad"), ""):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(UserError, match=f"{path} is damaged"):
            read_predictions(path, False)


def test_a_row_without_a_label_is_not_the_empty_list(tmp_path: Path) -> None:
    write_predictions(tmp_path / "test.csv", predictions([None, []], [[1, 1], [0, 0]], True))
    columns = read_columns(tmp_path / "test.csv")
    assert (columns["label"], columns["prediction"]) == (["\\N", ""], ["neg|pos", ""])


def test_cells_of_earlier_versions_are_read() -> None:
    assert (parse_labels("a|b"), parse_labels(""), parse_labels("a\\b")) == (["a", "b"], [], ["a\\b"])
    assert (label_cell(["a|", "\\"]), label_cell("a|"), label_cell(None), label_cell([])) == ("a\\||\\\\", "a|", "", "")


def test_probabilities_have_the_digits_that_they_need(tmp_path: Path) -> None:
    probabilities = np.array([[0.25, 1 / 3], [1e-10, 1.0]], np.float32)
    decisions = np.array([[1, 0], [0, 1]], np.int8)
    write_predictions(
        tmp_path / "a.csv", Predictions(["1", "2"], ["x", "y"], probabilities, decisions, ["x", "y"], False)
    )
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == (
        "id,label,prediction,p_x,p_y\n1,x,x,0.25,0.33333334\n2,y,y,1e-10,1\n"
    )
