"""Two models on the same rows: the paired difference by hand, and when there is none."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from recipes.metrics import Predictions
from recipes.prediction.comparison import compare, has_same_rows


def answers(labels: str, predicted: str) -> Predictions:
    decisions = np.array([[int(name == each) for each in "ab"] for name in predicted], np.int8)
    ids = [str(row) for row in range(len(labels))]
    return Predictions(ids, list(labels), np.where(decisions, 0.9, 0.1), decisions, ["a", "b"], False)


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    labels, one, other = "ab" * 10, "ab" * 8 + "aabb", "ab" * 4 + "ba" * 4 + "abab"
    right = [np.array([x == y for x, y in zip(labels, each, strict=True)], float) for each in (one, other)]
    expected = stats.ttest_rel(*right)
    interval = expected.confidence_interval(0.95)
    found = compare(answers(labels, one), answers(labels, other), "accuracy")
    assert found is not None
    assert found.difference == pytest.approx(np.mean(right[0] - right[1]))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_positive_is_better_for_every_metric() -> None:
    sure, unsure = answers("ab" * 10, "ab" * 10), answers("ab" * 10, "ab" * 10)
    unsure = replace(unsure, probabilities=np.where(unsure.decisions, 0.6, 0.4))
    found = compare(sure, unsure, "loss")
    assert found is not None and found.difference == pytest.approx(np.log(0.9 / 0.6)) and found.low > 0


def test_fewer_than_two_labelled_rows_and_undefined_metrics_are_not_compared() -> None:
    assert compare(answers("a", "a"), answers("a", "b"), "accuracy") is None
    assert compare(answers("aa", "ab"), answers("aa", "bb"), "roc_auc") is None


def test_runs_have_the_same_rows_if_ids_and_labels_are_equal() -> None:
    one = answers("ab", "aa")
    assert has_same_rows(one, answers("ab", "bb"))
    assert not has_same_rows(one, answers("aa", "bb")) and not has_same_rows(one, answers("aba", "bbb"))
    assert not has_same_rows(one, replace(one, ids=["1", "0"]))
