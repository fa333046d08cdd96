"""Errors to read: the highest loss first, in two lists, or why there are none."""

from pathlib import Path
from unittest import mock

import numpy as np

from recipes.metrics import Predictions
from recipes.reports.document import Part, Quotes
from recipes.reports.error_parts import error_parts
from recipes.runs.folder import RunFolder
from tests.recipes.reports.pages import answers


def parts_of(predictions: Predictions, texts: list[str] | str) -> list[Part]:
    with mock.patch("recipes.reports.error_parts._texts", return_value=texts):
        return list(error_parts(RunFolder(Path("unused")), predictions, 2))


def test_examples_are_the_errors_by_loss_and_the_suspicious_ones_first() -> None:
    probabilities = np.array([[0.95, 0.05], [0.6, 0.4], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7]])
    decisions = np.eye(2, dtype=np.int8)[probabilities.argmax(1)]
    predictions = Predictions(list("abcde"), ["y", "y", "x", "x", "new"], probabilities, decisions, ["x", "y"], False)
    suspicious, hardest = (
        [[value for _, value in facts] for _, facts in part.items]
        for part in parts_of(predictions, ["t"] * 5)
        if isinstance(part, Quotes)
    )
    assert suspicious == [["y", "x", "0.950", "3.00", "a"]]
    assert hardest == [["x", "y", "0.800", "1.61", "c"], ["y", "x", "0.600", "0.92", "b"]]


def test_a_text_is_cut_and_missing_texts_are_explained() -> None:
    wrong = answers(["x"], ["y"], "xy", 0.95)
    (long,) = (part for part in parts_of(wrong, ["a" * 401]) if isinstance(part, Quotes))
    assert long.items[0][0] == "a" * 400 + "…"
    assert "why" in parts_of(wrong, "why")


def test_a_run_without_errors_has_empty_lists() -> None:
    assert parts_of(answers(["x"], ["x"], "xy"), ["t"]).count("None.") == 2
