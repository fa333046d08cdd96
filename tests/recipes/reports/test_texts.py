"""Predictions of texts: the same numbers with the texts, as a frame and as HTML."""

import numpy as np

from recipes.metrics import Predictions
from recipes.reports.texts import with_texts

PREDICTIONS = Predictions(
    ["0", "1"], [None, None], np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([[1, 0], [1, 0]]), ["no", "yes"], False
)


def test_a_frame_has_a_row_for_each_text() -> None:
    frame = with_texts(PREDICTIONS, ["a", "b"], None).to_frame()
    assert list(frame.columns) == ["text", "prediction", "p_no", "p_yes"]
    assert frame.to_numpy().tolist() == [["a", "no", 0.75, 0.25], ["b", "no", 0.5, 0.5]]
    assert list(with_texts(PREDICTIONS, ["a", "b"], ["c", "d"]).to_frame()["pair"]) == ["c", "d"]


def test_the_predictions_are_those_of_before() -> None:
    predictions = with_texts(PREDICTIONS, ["a", "b"], None)
    assert predictions.names() == PREDICTIONS.names() and predictions.probabilities is PREDICTIONS.probabilities
    assert "0.750" in predictions._repr_html_()
