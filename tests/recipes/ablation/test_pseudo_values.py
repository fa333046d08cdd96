"""What rows add to a score: exact where a score is a mean, checked against drawing rows anew elsewhere."""

import numpy as np
import pytest

from recipes.ablation.pseudo_values import row_scores
from recipes.errors import UserError
from recipes.metrics import Predictions, available, intervals, measure


def predictions(count: int, classes: int, several: bool = False) -> Predictions:
    chance = np.random.default_rng(count)
    names = [f"c{number}" for number in range(classes)]
    true = chance.integers(0, classes, count)
    logits = chance.normal(size=(count, classes)) + 2 * np.eye(classes)[true]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    decisions = (shares > 0.4 if several else np.eye(classes)[shares.argmax(1)]).astype(np.int8)
    labels = [
        [names[each], names[(each + row) % classes]] if several else names[each]
        for row, each in enumerate(true.tolist())
    ]
    return Predictions([str(row) for row in range(count)], labels, shares.astype(np.float32), decisions, names, several)


def test_of_accuracy_a_row_is_right_or_wrong() -> None:
    held = predictions(60, 3)
    right = [held.names()[row] == held.labels[row] for row in range(60)]
    np.testing.assert_allclose(row_scores(held, "accuracy"), right, atol=1e-9)


@pytest.mark.parametrize(("classes", "several"), [(2, False), (4, False), (3, True)])
def test_their_mean_is_the_score_of_every_metric(classes: int, several: bool) -> None:
    held = predictions(30, classes, several)
    for metric in available(classes, several):
        sign = -1 if metric in ("loss", "ece") else 1
        assert row_scores(held, metric).mean() == pytest.approx(sign * measure(held)[metric], abs=1e-9)


def test_their_spread_is_that_of_drawing_rows_anew() -> None:
    held = predictions(800, 4)
    error = row_scores(held, "macro_f1").std(ddof=1) / 800**0.5
    low, high = intervals(held)["macro_f1"]
    assert error == pytest.approx((high - low) / 2 / 1.96, rel=0.1)
    likelihood = -np.log(held.probabilities[np.arange(800), [held.classes.index(label) for label in held.labels]])
    groups = row_scores(held, "loss")
    assert len(groups) == 200 and (groups == row_scores(held, "loss")).all()
    assert groups.std(ddof=1) / 200**0.5 == pytest.approx(likelihood.std(ddof=1) / 800**0.5, rel=0.15)


def test_rows_without_a_label_are_left_out_and_metrics_named() -> None:
    held = predictions(30, 2)
    labels = [*held.labels[:20], *[None] * 10]
    some = Predictions(held.ids, labels, held.probabilities, held.decisions, held.classes, False)
    assert len(row_scores(some, "accuracy")) == 20
    with pytest.raises(UserError, match="evaluate.metric=micro_f1 does not exist for this data, which has accuracy"):
        row_scores(held, "micro_f1")
    none = Predictions(held.ids, [None] * 30, held.probabilities, held.decisions, held.classes, False)
    with pytest.raises(UserError, match="fewer than two rows with a label"):
        row_scores(none, "accuracy")
