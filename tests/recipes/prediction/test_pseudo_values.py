"""The contribution of rows to a score: exact where a score is a mean, else checked against the bootstrap."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recipes.errors import UserError
from recipes.metrics import (
    LOWER_IS_BETTER,
    CustomMetric,
    Predictions,
    available,
    intervals,
    measure,
    on_request,
    scoring,
    select,
)
from recipes.prediction.pseudo_values import GROUPED_METRICS, count_clipped_rows, count_unseen_rows, score_rows


def predictions(count: int, classes: int, multi_label: bool = False) -> Predictions:
    random = np.random.default_rng(count)
    names = [f"c{number}" for number in range(classes)]
    true = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + 2 * np.eye(classes)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    decisions = (probabilities > 0.4 if multi_label else np.eye(classes)[probabilities.argmax(1)]).astype(np.int8)
    labels = [
        [names[each], names[(each + row) % classes]] if multi_label else names[each]
        for row, each in enumerate(true.tolist())
    ]
    return Predictions(
        [str(row) for row in range(count)], labels, probabilities.astype(np.float32), decisions, names, multi_label
    )


def test_for_accuracy_a_row_is_1_if_right_and_0_if_wrong() -> None:
    answers = predictions(60, 3)
    right = [answers.names()[row] == answers.labels[row] for row in range(60)]
    np.testing.assert_allclose(score_rows(answers, "accuracy"), right, atol=1e-9)


@pytest.mark.parametrize(("classes", "multi_label"), [(2, False), (4, False), (3, True)])
def test_their_mean_is_the_score_of_every_metric(classes: int, multi_label: bool) -> None:
    answers = predictions(30, classes, multi_label)
    for metric in available(classes, multi_label):
        sign = -1 if metric in ("loss", "brier", "ece") else 1
        assert score_rows(answers, metric).mean() == pytest.approx(sign * measure(answers)[metric], abs=1e-9)


@pytest.mark.parametrize(("classes", "multi_label"), [(2, False), (4, False), (2, True), (3, True)])
def test_a_row_has_the_part_of_the_score_that_is_gone_without_it(classes: int, multi_label: bool) -> None:
    answers = predictions(30, classes, multi_label)
    labels: list[Any] = list(answers.labels)
    labels[3], labels[4] = (["c0", "new"], []) if multi_label else ("new", "newer")
    answers = replace(answers, labels=labels)
    for metric in (*available(classes, multi_label), *on_request(multi_label)):
        score = measure(answers, [metric])[metric]
        without = [measure(select(answers, np.delete(np.arange(30), row)), [metric])[metric] for row in range(30)]
        expected = 30 * score - 29 * np.array(without)
        expected += score - expected.mean()
        sign, found = (-1 if metric in LOWER_IS_BETTER else 1), score_rows(answers, metric)
        # The rows of these metrics are in a random order.
        in_order = found if metric not in GROUPED_METRICS else np.sort(found)
        np.testing.assert_allclose(
            in_order, sign * expected if in_order is found else np.sort(sign * expected), atol=1e-6, err_msg=metric
        )


def test_of_a_custom_metric_groups_of_rows_have_their_part() -> None:
    def cost(true: np.ndarray, predicted: np.ndarray) -> float:
        return float((true != predicted).mean())

    answers = predictions(30, 3)
    with scoring([CustomMetric("cost", cost, greater_is_better=False)]):
        found = score_rows(answers, "cost")
    wrong = 1 - score_rows(answers, "accuracy")
    np.testing.assert_allclose(np.sort(-found), np.sort(wrong), atol=1e-9)


def test_a_metric_that_the_rows_do_not_define_is_an_error() -> None:
    answers = replace(predictions(30, 3), labels=["c1"] * 30)
    with pytest.raises(UserError, match="evaluate.metric=roc_auc has no value for these rows"):
        score_rows(answers, "roc_auc")


def test_their_standard_error_is_that_of_the_bootstrap() -> None:
    answers = predictions(800, 4)
    error = score_rows(answers, "macro_f1").std(ddof=1) / 800**0.5
    low, high = intervals(answers)["macro_f1"]
    assert error == pytest.approx((high - low) / 2 / 1.96, rel=0.1)
    likelihood = -np.log(
        answers.probabilities[np.arange(800), [answers.classes.index(label) for label in answers.labels]]
    )
    np.testing.assert_allclose(score_rows(answers, "loss"), -likelihood, rtol=1e-6)
    groups = score_rows(answers, "ece")
    assert len(groups) == 200 and (groups == score_rows(answers, "ece")).all()


def test_proper_scores_are_those_of_each_row_and_clipped_rows_are_counted() -> None:
    rows = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], dtype=np.float32)
    decisions = np.eye(3, dtype=np.int8)[rows.argmax(1)]
    answers = Predictions(["0", "1", "2"], ["a", "b", "c"], rows, decisions, ["a", "b", "c"], False)
    losses = [np.log(2), 7 * np.log(10), np.log(2)]
    np.testing.assert_allclose(score_rows(answers, "loss"), -np.array(losses), rtol=1e-12)
    np.testing.assert_allclose(score_rows(answers, "brier"), [-(0.25 + 2 * 0.0625), -2, -0.5])
    assert (count_clipped_rows(answers), count_unseen_rows(answers)) == (1, 0)
    # Leaving out a row with an unseen label changes no score; leaving out another has its part of the two that count.
    unseen = Predictions(answers.ids, ["a", "new", "c"], rows, decisions, answers.classes, False)
    assert score_rows(unseen, "loss") == pytest.approx([-np.log(2)] * 3)
    score = (0.375 + 0.5) / 2
    assert -score_rows(unseen, "brier") == pytest.approx([3 * score - 2 * 0.5, score, 3 * score - 2 * 0.375])
    assert (count_clipped_rows(unseen), count_unseen_rows(unseen)) == (0, 1)


def test_proper_scores_with_more_than_one_label_are_means_over_labels() -> None:
    rows = np.array([[0.5, 0.0], [0.8, 1.0]], dtype=np.float32)
    decisions = (rows > 0.5).astype(np.int8)
    answers = Predictions(["0", "1"], [["a", "b"], ["a", "new"]], rows, decisions, ["a", "b"], True)
    clipped = 7 * np.log(10)
    expected = [-(np.log(2) + clipped) / 2, -(-np.log(0.8) + clipped) / 2]
    np.testing.assert_allclose(score_rows(answers, "loss"), expected, rtol=1e-6)
    np.testing.assert_allclose(score_rows(answers, "brier"), [-(0.25 + 1) / 2, -(0.04 + 1) / 2], rtol=1e-6)
    assert (count_clipped_rows(answers), count_unseen_rows(answers)) == (2, 1)


def test_rows_without_a_label_are_left_out_and_a_wrong_metric_is_an_error() -> None:
    answers = predictions(30, 2)
    labels = [*answers.labels[:20], *[None] * 10]
    some = Predictions(answers.ids, labels, answers.probabilities, answers.decisions, answers.classes, False)
    assert len(score_rows(some, "accuracy")) == 20
    with pytest.raises(UserError, match="evaluate.metric=micro_f1 does not exist for this data, which has accuracy"):
        score_rows(answers, "micro_f1")
    none = Predictions(answers.ids, [None] * 30, answers.probabilities, answers.decisions, answers.classes, False)
    with pytest.raises(UserError, match="fewer than two rows with a label"):
        score_rows(none, "accuracy")
