"""Metrics: numbers worked out by hand, and the agreement with scikit-learn."""

import math
from collections import Counter
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from sklearn import metrics as sk

from recipes.metrics import (
    MULTI,
    SINGLE,
    TWO_CLASSES,
    Predictions,
    available,
    better,
    calibration_error,
    intervals,
    measure,
)


def single(labels: list[Any], rows: list[list[float]], classes: list[str]) -> Predictions:
    probabilities = np.array(rows, dtype=np.float32)
    decisions = np.eye(len(classes), dtype=np.int8)[probabilities.argmax(1)]
    return Predictions([str(row) for row in range(len(rows))], labels, probabilities, decisions, classes, False)


def several(labels: list[Any], rows: list[list[float]], classes: list[str]) -> Predictions:
    probabilities = np.array(rows, dtype=np.float32)
    decisions = (probabilities >= 0.5).astype(np.int8)
    return Predictions([str(row) for row in range(len(rows))], labels, probabilities, decisions, classes, True)


ABC = ["a", "b", "c"]
SIX = single(
    ["a", "a", "b", "b", "c", "a"],
    [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]],
    ABC,
)


class TestSingleLabel:
    def test_by_hand(self) -> None:
        found = measure(SIX)
        # Chosen: a b b a c a; right are rows 0, 2, 4, 5.
        assert found["accuracy"] == pytest.approx(4 / 6)
        # a: 2 right of 3 asked, 3 given; b: 1 right of 2 asked, 2 given; c: 1 of 1, 1.
        f1 = {"a": 2 * 2 / (3 + 3), "b": 2 * 1 / (2 + 2), "c": 1.0}
        assert found["macro_f1"] == pytest.approx(sum(f1.values()) / 3)
        assert found["weighted_f1"] == pytest.approx((3 * f1["a"] + 2 * f1["b"] + f1["c"]) / 6)
        # (hits * rows - sum asked * given) / sqrt((rows^2 - sum asked^2) (rows^2 - sum given^2))
        assert found["mcc"] == pytest.approx((4 * 6 - (9 + 4 + 1)) / (36 - 14))
        own = [0.8, 0.3, 0.7, 0.4, 0.7, 0.6]
        assert found["loss"] == pytest.approx(-sum(map(math.log, own)) / 6, rel=1e-6)
        # In bins of their own: .8 right, .6 wrong and .6 right, .7 right and .7 right, .5 wrong.
        assert found["ece"] == pytest.approx((0.2 + abs(0.6 + 0.6 - 1) + 2 * 0.3 + 0.5) / 6, rel=1e-6)
        assert set(found) == set(SINGLE)
        assert all(type(value) is float for value in found.values())

    def test_calibration_error_by_hand(self) -> None:
        # Of 15 bins: [9/15, 10/15) holds .6 wrong and .65 right, [12/15, 13/15) holds .8 right, .85 right, .82 wrong,
        # and 1.0 belongs to the last, with .95.
        confidence = np.array([0.62, 0.65, 0.81, 0.85, 0.82, 0.95, 1.0])
        right = np.array([False, True, True, True, False, True, False])
        gaps = abs(0.62 + 0.65 - 1), abs(0.81 + 0.85 + 0.82 - 2), abs(0.95 + 1.0 - 1)
        assert calibration_error(confidence, right) == pytest.approx(sum(gaps) / 7)

    def test_calibration_is_of_the_probabilities_whatever_is_decided(self) -> None:
        moved = Predictions(SIX.ids, SIX.labels, SIX.probabilities, np.roll(SIX.decisions, 1, 1), ABC, False)
        assert measure(moved)["ece"] == measure(SIX)["ece"]
        assert measure(moved)["loss"] == measure(SIX)["loss"]
        assert measure(moved)["accuracy"] != measure(SIX)["accuracy"]

    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_agrees_with_sklearn(self, count: int) -> None:
        random = np.random.default_rng(count)
        classes = [f"class {number}" for number in range(count)]
        probabilities = random.dirichlet(np.ones(count), 200)
        true = np.where(random.random(200) < 0.5, probabilities.argmax(1), random.integers(count, size=200))
        found = measure(single([classes[number] for number in true], probabilities.tolist(), classes))
        chosen = probabilities.argmax(1)
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, chosen))
        assert found["macro_f1"] == pytest.approx(sk.f1_score(true, chosen, average="macro"))
        assert found["weighted_f1"] == pytest.approx(sk.f1_score(true, chosen, average="weighted"))
        assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(true, chosen))
        assert found["loss"] == pytest.approx(sk.log_loss(true, probabilities, labels=range(count)), rel=1e-6)
        if count == 2:
            assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(true, probabilities[:, 1]))
            assert found["average_precision"] == pytest.approx(sk.average_precision_score(true, probabilities[:, 1]))

    def test_two_classes_have_ranking_metrics_of_the_second(self) -> None:
        found = measure(single(["no", "yes", "yes"], [[0.9, 0.1], [0.4, 0.6], [0.95, 0.05]], ["no", "yes"]))
        assert set(found) == set(TWO_CLASSES)
        assert found["roc_auc"] == 0.5  # one yes above the no, one below
        assert found["average_precision"] == pytest.approx(1 / 2 * (1 / 1 + 2 / 3))

    def test_an_unseen_label_is_wrong_in_accuracy_and_out_of_loss_and_ece(self) -> None:
        rows = [[0.9, 0.05, 0.05], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
        found = measure(single(["a", "b", "new", "newer"], rows, ABC))
        assert found["accuracy"] == 0.5
        assert found["loss"] == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2, rel=1e-6)
        assert found["ece"] == pytest.approx((0.1 + 0.2) / 2, rel=1e-6)
        assert found["unseen"] == 2
        assert type(found["unseen"]) is int
        # a was given to an unseen row, c too: 2/(1+2), 1, 0, over the three training classes.
        assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)

    def test_mcc_of_unseen_labels_agrees_with_sklearn(self) -> None:
        rows = [[0.9, 0.05, 0.05], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
        found = measure(single(["a", "b", "new", "c"], rows, ABC))
        assert found["mcc"] == pytest.approx(sk.matthews_corrcoef([0, 1, -1, 2], [0, 1, 0, 2]))

    def test_nothing_but_unseen_labels(self) -> None:
        found = measure(single(["new", "new"], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"]))
        assert found == {"accuracy": 0, "macro_f1": 0, "weighted_f1": 0, "mcc": 0, "unseen": 2}

    def test_one_class_all_right_says_nothing_of_mcc_and_ranking(self) -> None:
        found = measure(single(["a", "a"], [[0.9, 0.1], [0.8, 0.2]], ["a", "b"]))
        assert found["accuracy"] == 1.0
        assert found["mcc"] == 0.0
        assert "roc_auc" not in found

    def test_rows_without_a_label_are_left_out(self) -> None:
        rows = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
        with_gap = measure(single(["a", None, "b"], rows, ["a", "b"]))
        assert with_gap == measure(single(["a", "b"], [rows[0], rows[2]], ["a", "b"]))
        assert measure(single([None, None], rows[:2], ["a", "b"])) == {}

    def test_certainty_costs_no_infinite_loss(self) -> None:
        found = measure(single(["b"], [[1.0, 0.0]], ["a", "b"]))
        assert found["loss"] == pytest.approx(-math.log(1e-12))


class TestSeveralLabels:
    LABELS: list[Any] = [["a", "b"], [], ["c"], ["a"]]
    ROWS = [[0.9, 0.8, 0.1], [0.2, 0.6, 0.1], [0.1, 0.2, 0.4], [0.7, 0.1, 0.2]]

    def test_by_hand(self) -> None:
        found = measure(several(self.LABELS, self.ROWS, ABC))
        # Chosen: {a, b}, {b}, {}, {a}. Hits a 2, b 1, c 0; asked 2, 1, 1; given 2, 2, 0.
        assert found["micro_f1"] == pytest.approx(2 * 3 / (4 + 4))
        assert found["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
        assert found["subset_accuracy"] == 0.5
        own = [0.9, 0.8, 0.9, 0.8, 0.4, 0.9, 0.9, 0.8, 0.4, 0.7, 0.9, 0.8]
        assert found["loss"] == pytest.approx(-sum(map(math.log, own)) / 12, rel=1e-6)
        assert set(found) == set(MULTI)

    def test_agrees_with_sklearn(self) -> None:
        random = np.random.default_rng(0)
        probabilities, true = random.random((200, 5)), random.integers(2, size=(200, 5))
        classes = list("vwxyz")
        labels = [[classes[place] for place in np.flatnonzero(row)] for row in true]
        found = measure(several(labels, probabilities.tolist(), classes))
        chosen = probabilities >= 0.5
        assert found["micro_f1"] == pytest.approx(sk.f1_score(true, chosen, average="micro"))
        assert found["macro_f1"] == pytest.approx(sk.f1_score(true, chosen, average="macro"))
        assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(true, chosen))
        losses = [sk.log_loss(true[:, place], probabilities[:, place]) for place in range(5)]
        assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)

    def test_an_unseen_label_is_missed(self) -> None:
        found = measure(several([["a", "new"], ["b"]], [[0.9, 0.1, 0.1], [0.1, 0.9, 0.1]], ABC))
        assert found["micro_f1"] == pytest.approx(2 * 2 / (3 + 2))
        assert found["macro_f1"] == pytest.approx(2 / 3)
        assert found["subset_accuracy"] == 0.5
        assert found["unseen"] == 1

    def test_one_label_that_rows_have_or_not(self) -> None:
        found = measure(several([["a"], [], ["a"]], [[0.9], [0.8], [0.1]], ["a"]))
        assert found["macro_f1"] == found["micro_f1"] == pytest.approx(2 * 1 / (2 + 2))

    def test_nobody_has_a_label_and_none_is_given(self) -> None:
        found = measure(several([[], []], [[0.1, 0.2], [0.1, 0.2]], ["a", "b"]))
        assert (found["micro_f1"], found["macro_f1"], found["subset_accuracy"]) == (0.0, 0.0, 1.0)

    def test_rows_without_labels_are_not_rows_with_none(self) -> None:
        found = measure(several([None, []], [[0.9, 0.9], [0.1, 0.1]], ["a", "b"]))
        assert found["subset_accuracy"] == 1.0


def test_names_of_what_is_predicted() -> None:
    assert SIX.names() == ["a", "b", "b", "a", "c", "a"]
    found = several([[], [], []], [[0.9, 0.8], [0.1, 0.1], [0.2, 0.5]], ["a", "b"])
    assert found.names() == [["a", "b"], [], ["b"]]


def test_available_metrics_are_those_measured() -> None:
    assert available(3, False) == SINGLE
    assert available(2, False) == TWO_CLASSES
    assert available(2, True) == available(9, True) == MULTI


@pytest.mark.parametrize(
    ("metric", "new", "old", "wanted"),
    [
        ("accuracy", 0.6, 0.5, True),
        ("accuracy", 0.5, 0.5, False),
        ("accuracy", 0.4, 0.5, False),
        ("loss", 0.4, 0.5, True),
        ("loss", 0.5, 0.5, False),
        ("loss", 0.6, 0.5, False),
        ("ece", 0.1, 0.2, True),
        ("macro_f1", 0.0, None, True),
        ("loss", 9.0, None, True),
        ("loss", math.nan, 0.5, False),
        ("accuracy", math.nan, 0.5, False),
    ],
)
def test_better(metric: str, new: float, old: float | None, wanted: bool) -> None:
    assert better(metric, new, old) is wanted


def rows_of(predictions: Predictions, chosen: list[int]) -> Predictions:
    """The same predictions of these rows, some of them more than once."""
    return Predictions(
        [predictions.ids[row] for row in chosen],
        [predictions.labels[row] for row in chosen],
        predictions.probabilities[chosen],
        predictions.decisions[chosen],
        predictions.classes,
        predictions.multi_label,
    )


def exact_intervals(predictions: Predictions) -> dict[str, tuple[float, float]]:
    """From every way to draw as many rows as have a label, with replacement, each with its probability."""
    labelled = [row for row, label in enumerate(predictions.labels) if label is not None]
    count = len(labelled)
    scores, chances = [], []
    for chosen in combinations_with_replacement(labelled, count):
        ways = math.factorial(count) / math.prod(math.factorial(times) for times in Counter(chosen).values())
        scores.append(measure(rows_of(predictions, list(chosen))))
        chances.append(ways / count**count)
    assert sum(chances) == pytest.approx(1)
    found = {}
    for name in ("macro_f1", "micro_f1" if predictions.multi_label else "accuracy"):
        values = np.array([score[name] for score in scores])
        order = np.argsort(values)
        below = np.cumsum(np.array(chances)[order])
        low, high = (float(values[order][np.searchsorted(below, share)]) for share in (0.025, 0.975))
        found[name] = low, high
    return found


class TestIntervals:
    FIVE = single(
        ["a", "b", None, "c", "new", "a"],
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]],
        ABC,
    )
    FIVE_SETS = several(
        [["a", "b"], ["b"], ["c", "new"], None, ["a"], []],
        [[0.9, 0.8, 0.1], [0.2, 0.6, 0.1], [0.1, 0.2, 0.4], [0.9, 0.9, 0.9], [0.7, 0.1, 0.2], [0.1, 0.1, 0.6]],
        ABC,
    )

    @pytest.mark.parametrize("predictions", [FIVE, FIVE_SETS], ids=["single", "several"])
    def test_those_of_every_way_to_draw_the_rows(self, predictions: Predictions) -> None:
        found, wanted = intervals(predictions, draws=100_000), exact_intervals(predictions)
        assert found.keys() == wanted.keys()
        for name, interval in wanted.items():
            assert found[name] == pytest.approx(interval), name

    @pytest.mark.parametrize(("rows", "right"), [(40, 30), (200, 190), (1000, 500)])
    def test_accuracy_is_a_binomial_share(self, rows: int, right: int) -> None:
        answers = [[0.9, 0.1]] * right + [[0.1, 0.9]] * (rows - right)
        found = intervals(single(["a"] * rows, answers, ["a", "b"]), draws=100_000)["accuracy"]
        wanted = binom.ppf([0.025, 0.975], rows, right / rows) / rows
        assert found == pytest.approx(tuple(wanted), abs=1e-9)

    def test_around_the_score_and_the_same_every_time(self) -> None:
        found = intervals(SIX)
        assert found == intervals(SIX) and found.keys() == {"accuracy", "macro_f1"}
        for name, (low, high) in found.items():
            assert 0 <= low < measure(SIX)[name] < high <= 1, name

    def test_nothing_is_said_without_labels_and_nothing_moves_where_all_is_right(self) -> None:
        assert intervals(single([None, None], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"])) == {}
        assert intervals(single(["a"] * 3, [[0.9, 0.1]] * 3, ["a", "b"]))["accuracy"] == (1.0, 1.0)
