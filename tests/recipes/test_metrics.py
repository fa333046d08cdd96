"""Metrics agree with numbers computed by hand and with scikit-learn."""

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
    OVER_CLASSES,
    SINGLE,
    TWO_CLASSES,
    CustomMetric,
    Predictions,
    available,
    calibration_error,
    explain_missing,
    has_collapsed,
    intervals,
    is_better,
    is_lower_better,
    label_matrices,
    measure,
    measure_classes,
    on_request,
    scoring,
)


def single(labels: list[Any], rows: list[list[float]], classes: list[str]) -> Predictions:
    probabilities = np.array(rows, dtype=np.float32)
    decisions = np.eye(len(classes), dtype=np.int8)[probabilities.argmax(1)]
    return Predictions([str(row) for row in range(len(rows))], labels, probabilities, decisions, classes, False)


def multi_label(labels: list[Any], rows: list[list[float]], classes: list[str]) -> Predictions:
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
        scores = measure(SIX)
        # Predicted: a b b a c a; rows 0, 2, 4 and 5 are correct.
        assert scores["accuracy"] == pytest.approx(4 / 6)
        # Hits, true and predicted rows: a 2, 3, 3; b 1, 2, 2; c 1, 1, 1.
        f1 = {"a": 2 * 2 / (3 + 3), "b": 2 * 1 / (2 + 2), "c": 1.0}
        assert scores["macro_f1"] == pytest.approx(sum(f1.values()) / 3)
        assert scores["weighted_f1"] == pytest.approx((3 * f1["a"] + 2 * f1["b"] + f1["c"]) / 6)
        # (hits * rows - sum(true * predicted)) / sqrt((rows^2 - sum(true^2)) (rows^2 - sum(predicted^2)))
        assert scores["mcc"] == pytest.approx((4 * 6 - (9 + 4 + 1)) / (36 - 14))
        true_probabilities = [0.8, 0.3, 0.7, 0.4, 0.7, 0.6]
        assert scores["loss"] == pytest.approx(-sum(map(math.log, true_probabilities)) / 6, rel=1e-6)
        # The squared differences of each row, from the class with the largest probability on.
        squares = [0.2**2 + 2 * 0.1**2, 0.6**2 + 0.7**2 + 0.1**2, 0.3**2 + 0.2**2 + 0.1**2]
        squares += [0.5**2 + 0.6**2 + 0.1**2, 0.3**2 + 0.2**2 + 0.1**2, 0.4**2 + 2 * 0.2**2]
        assert scores["brier"] == pytest.approx(sum(squares) / 6, rel=1e-6)
        # Bins: .8 correct; .6 wrong and .6 correct; .7 correct and .7 correct; .5 wrong.
        assert scores["ece"] == pytest.approx((0.2 + abs(0.6 + 0.6 - 1) + 2 * 0.3 + 0.5) / 6, rel=1e-6)
        assert set(scores) == set(SINGLE)
        assert all(type(value) is float for value in scores.values())

    def test_calibration_error_by_hand(self) -> None:
        # Of 15 bins: [9/15, 10/15) has .62 wrong and .65 correct; [12/15, 13/15) has .81 correct, .85 correct and .82
        # wrong; the last one has .95 correct and 1.0 wrong.
        confidence = np.array([0.62, 0.65, 0.81, 0.85, 0.82, 0.95, 1.0])
        is_correct = np.array([False, True, True, True, False, True, False])
        gaps = abs(0.62 + 0.65 - 1), abs(0.81 + 0.85 + 0.82 - 2), abs(0.95 + 1.0 - 1)
        assert calibration_error(confidence, is_correct) == pytest.approx(sum(gaps) / 7)

    def test_calibration_and_loss_do_not_depend_on_decisions(self) -> None:
        other_decisions = Predictions(SIX.ids, SIX.labels, SIX.probabilities, np.roll(SIX.decisions, 1, 1), ABC, False)
        assert measure(other_decisions)["ece"] == measure(SIX)["ece"]
        assert measure(other_decisions)["loss"] == measure(SIX)["loss"]
        assert measure(other_decisions)["accuracy"] != measure(SIX)["accuracy"]

    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_agrees_with_sklearn(self, count: int) -> None:
        random = np.random.default_rng(count)
        classes = [f"class {number}" for number in range(count)]
        probabilities = random.dirichlet(np.ones(count), 200)
        true = np.where(random.random(200) < 0.5, probabilities.argmax(1), random.integers(count, size=200))
        answers = single([classes[number] for number in true], probabilities.tolist(), classes)
        scores = measure(answers)
        predicted = probabilities.argmax(1)
        assert scores["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
        assert scores["macro_f1"] == pytest.approx(sk.f1_score(true, predicted, average="macro"))
        assert scores["weighted_f1"] == pytest.approx(sk.f1_score(true, predicted, average="weighted"))
        assert scores["mcc"] == pytest.approx(sk.matthews_corrcoef(true, predicted))
        assert scores["loss"] == pytest.approx(sk.log_loss(true, probabilities, labels=range(count)), rel=1e-6)
        assert scores["macro_precision"] == pytest.approx(sk.precision_score(true, predicted, average="macro"))
        assert scores["macro_recall"] == pytest.approx(sk.recall_score(true, predicted, average="macro"))
        assert scores["kappa"] == pytest.approx(sk.cohen_kappa_score(true, predicted))
        further = measure(answers, on_request(False))
        assert further["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(true, predicted))
        weighted = sk.precision_score(true, predicted, average="weighted")
        assert further["weighted_precision"] == pytest.approx(weighted)
        area = sk.roc_auc_score(true, probabilities[:, 1] if count == 2 else probabilities, multi_class="ovr")
        assert scores["roc_auc"] == pytest.approx(area, abs=1e-4)  # probabilities have 32 bits here
        if count == 2:
            assert scores["brier"] == pytest.approx(2 * sk.brier_score_loss(true, probabilities[:, 1]), rel=1e-6)
            assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(true, probabilities[:, 1]))
            assert scores["average_precision"] == pytest.approx(sk.average_precision_score(true, probabilities[:, 1]))

    def test_two_classes_have_ranking_metrics_of_the_second(self) -> None:
        scores = measure(single(["no", "yes", "yes"], [[0.9, 0.1], [0.4, 0.6], [0.95, 0.05]], ["no", "yes"]))
        assert set(scores) == set(TWO_CLASSES)
        assert scores["roc_auc"] == 0.5  # one yes above the no, one below
        assert scores["average_precision"] == pytest.approx(1 / 2 * (1 / 1 + 2 / 3))

    def test_an_unseen_label_is_an_error_in_accuracy_and_left_out_of_loss_brier_and_ece(self) -> None:
        rows = [[0.9, 0.05, 0.05], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
        scores = measure(single(["a", "b", "new", "newer"], rows, ABC))
        assert scores["accuracy"] == 0.5
        assert scores["loss"] == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2, rel=1e-6)
        assert scores["brier"] == pytest.approx((0.1**2 + 2 * 0.05**2 + 2 * 0.2**2) / 2, rel=1e-6)
        assert scores["ece"] == pytest.approx((0.1 + 0.2) / 2, rel=1e-6)
        assert scores["unseen"] == 2
        assert type(scores["unseen"]) is int
        # a and c are also predicted for unseen labels: F1 of 2/(1+2), 1 and 0 over the three training classes.
        assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)

    def test_mcc_of_unseen_labels_agrees_with_sklearn(self) -> None:
        rows = [[0.9, 0.05, 0.05], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
        scores = measure(single(["a", "b", "new", "c"], rows, ABC))
        assert scores["mcc"] == pytest.approx(sk.matthews_corrcoef([0, 1, -1, 2], [0, 1, 0, 2]))

    def test_only_unseen_labels_have_no_loss(self) -> None:
        scores = measure(single(["new", "new"], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"]))
        defined = ("accuracy", *OVER_CLASSES, "kappa", "mcc")
        assert scores == {**dict.fromkeys(defined, 0), "unseen": 2}

    def test_a_single_true_class_has_mcc_zero_and_no_ranking_metrics(self) -> None:
        scores = measure(single(["a", "a"], [[0.9, 0.1], [0.8, 0.2]], ["a", "b"]))
        assert scores["accuracy"] == 1.0
        assert scores["mcc"] == 0.0
        assert "roc_auc" not in scores

    def test_rows_without_a_label_are_left_out(self) -> None:
        rows = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
        with_gap = measure(single(["a", None, "b"], rows, ["a", "b"]))
        assert with_gap == measure(single(["a", "b"], [rows[0], rows[2]], ["a", "b"]))
        assert measure(single([None, None], rows[:2], ["a", "b"])) == {}

    def test_probability_zero_has_a_finite_loss(self) -> None:
        scores = measure(single(["b"], [[1.0, 0.0]], ["a", "b"]))
        assert scores["loss"] == pytest.approx(-math.log(1e-12))


class TestMultiLabel:
    LABELS: list[Any] = [["a", "b"], [], ["c"], ["a"]]
    ROWS = [[0.9, 0.8, 0.1], [0.2, 0.6, 0.1], [0.1, 0.2, 0.4], [0.7, 0.1, 0.2]]

    def test_by_hand(self) -> None:
        scores = measure(multi_label(self.LABELS, self.ROWS, ABC))
        # Predicted: {a, b}, {b}, {}, {a}. Hits: a 2, b 1, c 0; true: 2, 1, 1; predicted: 2, 2, 0.
        assert scores["micro_f1"] == pytest.approx(2 * 3 / (4 + 4))
        assert scores["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
        assert scores["subset_accuracy"] == 0.5
        true_probabilities = [0.9, 0.8, 0.9, 0.8, 0.4, 0.9, 0.9, 0.8, 0.4, 0.7, 0.9, 0.8]
        assert scores["loss"] == pytest.approx(-sum(map(math.log, true_probabilities)) / 12, rel=1e-6)
        assert scores["brier"] == pytest.approx(sum((1 - each) ** 2 for each in true_probabilities) / 12, rel=1e-6)
        assert set(scores) == set(MULTI)

    def test_agrees_with_sklearn(self) -> None:
        random = np.random.default_rng(0)
        probabilities, true = random.random((200, 5)), random.integers(2, size=(200, 5))
        classes = list("vwxyz")
        labels = [[classes[index] for index in np.flatnonzero(row)] for row in true]
        scores = measure(multi_label(labels, probabilities.tolist(), classes))
        predicted = probabilities >= 0.5
        assert scores["micro_f1"] == pytest.approx(sk.f1_score(true, predicted, average="micro"))
        assert scores["macro_f1"] == pytest.approx(sk.f1_score(true, predicted, average="macro"))
        assert scores["subset_accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
        for kind, function in (("precision", sk.precision_score), ("recall", sk.recall_score)):
            for average in ("micro", "macro"):
                expected = function(true, predicted, average=average)
                assert scores[f"{average}_{kind}"] == pytest.approx(expected)
        stored = probabilities.astype(np.float32)
        assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(true, stored))
        assert scores["average_precision"] == pytest.approx(sk.average_precision_score(true, stored))
        further = measure(multi_label(labels, probabilities.tolist(), classes), on_request(True))
        assert further["weighted_f1"] == pytest.approx(sk.f1_score(true, predicted, average="weighted"))
        losses = [sk.log_loss(true[:, index], probabilities[:, index]) for index in range(5)]
        assert scores["loss"] == pytest.approx(np.mean(losses), rel=1e-5)

    def test_an_unseen_label_is_a_false_negative(self) -> None:
        scores = measure(multi_label([["a", "new"], ["b"]], [[0.9, 0.1, 0.1], [0.1, 0.9, 0.1]], ABC))
        assert scores["micro_f1"] == pytest.approx(2 * 2 / (3 + 2))
        assert scores["macro_f1"] == pytest.approx(2 / 3)
        assert scores["subset_accuracy"] == 0.5
        assert scores["unseen"] == 1

    def test_a_single_label_may_be_multi_label(self) -> None:
        scores = measure(multi_label([["a"], [], ["a"]], [[0.9], [0.8], [0.1]], ["a"]))
        assert scores["macro_f1"] == scores["micro_f1"] == pytest.approx(2 * 1 / (2 + 2))

    def test_no_true_and_no_predicted_label(self) -> None:
        scores = measure(multi_label([[], []], [[0.1, 0.2], [0.1, 0.2]], ["a", "b"]))
        assert (scores["micro_f1"], scores["macro_f1"], scores["subset_accuracy"]) == (0.0, 0.0, 1.0)

    def test_null_differs_from_an_empty_list_of_labels(self) -> None:
        scores = measure(multi_label([None, []], [[0.9, 0.9], [0.1, 0.1]], ["a", "b"]))
        assert scores["subset_accuracy"] == 1.0


class TestRanking:
    ROWS = [[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.6, 0.2, 0.2]]

    def test_a_class_that_no_row_has_is_left_out_of_the_mean(self) -> None:
        scores = measure(single(["a", "b", "b", "a"], self.ROWS, ABC))
        true, rows = np.array([0, 1, 1, 0]), np.array(self.ROWS)
        areas = [sk.roc_auc_score(true == index, rows[:, index]) for index in (0, 1)]
        assert scores["roc_auc"] == pytest.approx(np.mean(areas))

    def test_one_class_has_no_area_and_a_sentence(self) -> None:
        answers = single(["a", "a", None], self.ROWS[:3], ABC)
        scores = measure(answers)
        assert "roc_auc" not in scores
        assert explain_missing(answers, scores) == {
            "roc_auc": "roc_auc has no value: it ranks rows with a class above rows without it, and all rows have the "
            "same."
        }

    def test_ties_are_half_a_pair(self) -> None:
        scores = measure(single(["a", "b", "b"], [[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]], ["a", "b"]))
        assert scores["roc_auc"] == 0.75


class TestClasses:
    def test_agree_with_sklearn(self) -> None:
        expected = sk.precision_recall_fscore_support(list("aabbca"), SIX.names(), labels=ABC)
        for name, *values in zip(ABC, *expected, strict=True):
            assert list(measure_classes(SIX)[name].values()) == pytest.approx(values)
        assert list(measure_classes(SIX)["a"]) == ["precision", "recall", "f1", "support"]

    def test_a_class_without_rows_has_zeros(self) -> None:
        scores = measure_classes(single(["a", "new"], [[0.9, 0.1], [0.8, 0.2]], ["a", "b"]))
        assert scores["a"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
        assert scores["b"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}

    def test_with_more_than_one_label(self) -> None:
        scores = measure_classes(multi_label([["a", "b"], ["a"]], [[0.9, 0.1], [0.2, 0.7]], ["a", "b"]))
        assert scores["a"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
        assert measure_classes(multi_label([None], [[0.9, 0.1]], ["a", "b"])) == {}


class TestCustom:
    def compute(self, function: Any, answers: Predictions = SIX, **options: Any) -> float | str:
        return CustomMetric("mine", function, **options).compute(answers)

    def test_labels_are_indices_of_classes(self) -> None:
        predicted = [ABC.index(str(name)) for name in SIX.names()]
        settings = {"beta": 2, "average": "macro"}
        expected = sk.fbeta_score([0, 0, 1, 1, 2, 0], predicted, **settings)
        assert self.compute(sk.fbeta_score, settings=settings) == pytest.approx(expected)

    def test_classes_have_their_names_in_settings(self) -> None:
        answers = single(["no", "yes", "yes"], [[0.9, 0.1], [0.4, 0.6], [0.95, 0.05]], ["no", "yes"])
        of_no = sk.recall_score([0, 1, 1], [0, 1, 0], pos_label=0)
        assert self.compute(sk.recall_score, answers, settings={"pos_label": "no"}) == of_no
        settings = {"labels": ["a", "c"], "average": "macro"}
        assert self.compute(sk.recall_score, settings=settings) == pytest.approx((2 / 3 + 1) / 2)

    def test_probabilities_of_two_classes_are_those_of_the_second(self) -> None:
        answers = single(["no", "yes", "yes"], [[0.9, 0.1], [0.4, 0.6], [0.95, 0.05]], ["no", "yes"])
        expected = sk.brier_score_loss([0, 1, 1], np.float32([0.1, 0.6, 0.05]))
        found = self.compute(sk.brier_score_loss, answers, reads_probabilities=True)
        assert found == pytest.approx(expected)

    def test_a_class_without_rows_is_a_class(self) -> None:
        answers = single(["a", "b"], [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], ABC)
        expected = sk.log_loss([0, 1], answers.probabilities, labels=[0, 1, 2])
        assert self.compute(sk.log_loss, answers, reads_probabilities=True) == pytest.approx(expected, rel=1e-6)

    def test_rows_with_an_unseen_label_or_none_are_left_out(self) -> None:
        answers = single(["a", "new", None, "c"], TestRanking.ROWS, ABC)
        assert self.compute(lambda true, predicted: true.tolist() == [0, 2] and 7.0, answers) == 7.0

    def test_with_more_than_one_label_it_gets_matrices(self) -> None:
        answers = multi_label(TestMultiLabel.LABELS, TestMultiLabel.ROWS, ABC)
        true, predicted, _ = label_matrices(answers)
        assert self.compute(sk.hamming_loss, answers) == sk.hamming_loss(true, predicted)
        found = self.compute(sk.label_ranking_loss, answers, reads_probabilities=True)
        assert found == pytest.approx(sk.label_ranking_loss(true, answers.probabilities))

    @pytest.mark.parametrize(
        ("function", "reason"),
        [
            (lambda true, predicted: 1 / 0, "it raised ZeroDivisionError (division by zero)"),
            (
                lambda true: 1.0,
                "it raised TypeError (TestCustom.<lambda>() takes 1 positional argument but 2 were given)",
            ),
            (lambda true, predicted: np.zeros(3), "it returned ndarray of shape (3,), not a number"),
            (lambda true, predicted: "good", "it returned str, not a number"),
            (lambda true, predicted: None, "it returned NoneType, not a number"),
            (lambda true, predicted: math.nan, "it returned nan"),
            (lambda true, predicted: np.float32(math.inf), "it returned inf"),
            (None, "nobody trusts it"),
        ],
    )
    def test_what_is_no_score_has_a_reason(self, function: Any, reason: str) -> None:
        metric = CustomMetric("mine", function, problem="nobody trusts it")
        assert metric.compute(SIX) == reason
        with scoring([metric]):
            scores = measure(SIX)
            assert "mine" not in scores and scores["accuracy"] == pytest.approx(4 / 6)
            assert explain_missing(SIX, scores) == {"mine": f"mine has no value: {reason}."}

    def test_measure_computes_further_metrics_inside_the_context_alone(self) -> None:
        cost = CustomMetric("cost", lambda true, predicted: np.float64(3), greater_is_better=False)
        with scoring([cost, "balanced_accuracy", "accuracy"]):
            scores = measure(SIX)
            assert list(scores) == [*SINGLE, "cost", "balanced_accuracy"]
            assert scores["cost"] == 3.0 and type(scores["cost"]) is float
            assert is_lower_better("cost") and is_better("cost", 1.0, 2.0)
            assert available(3, False) == (*SINGLE, "cost", "balanced_accuracy")
        assert set(measure(SIX)) == set(SINGLE)
        assert not is_lower_better("cost")


def test_names_of_predicted_labels() -> None:
    assert SIX.names() == ["a", "b", "b", "a", "c", "a"]
    scores = multi_label([[], [], []], [[0.9, 0.8], [0.1, 0.1], [0.2, 0.5]], ["a", "b"])
    assert scores.names() == [["a", "b"], [], ["b"]]


def test_available_metrics_are_those_measured() -> None:
    assert available(3, False) == SINGLE
    assert available(2, False) == TWO_CLASSES
    assert available(2, True) == available(9, True) == MULTI


@pytest.mark.parametrize(
    ("metric", "new", "old", "expected"),
    [
        ("accuracy", 0.6, 0.5, True),
        ("accuracy", 0.5, 0.5, False),
        ("accuracy", 0.4, 0.5, False),
        ("loss", 0.4, 0.5, True),
        ("loss", 0.5, 0.5, False),
        ("loss", 0.6, 0.5, False),
        ("ece", 0.1, 0.2, True),
        ("brier", 0.3, 0.2, False),
        ("macro_f1", 0.0, None, True),
        ("loss", 9.0, None, True),
        ("loss", math.nan, 0.5, False),
        ("accuracy", math.nan, 0.5, False),
        ("mine", None, None, False),
        ("mine", None, 0.5, False),
    ],
)
def test_better(metric: str, new: float | None, old: float | None, expected: bool) -> None:
    assert is_better(metric, new, old) is expected


def select(predictions: Predictions, rows: list[int]) -> Predictions:
    """The predictions of these rows, which may repeat."""
    return Predictions(
        [predictions.ids[row] for row in rows],
        [predictions.labels[row] for row in rows],
        predictions.probabilities[rows],
        predictions.decisions[rows],
        predictions.classes,
        predictions.multi_label,
    )


def exact_intervals(predictions: Predictions) -> dict[str, tuple[float, float]]:
    """Compute the intervals from all bootstrap samples, each with its probability."""
    labelled = [row for row, label in enumerate(predictions.labels) if label is not None]
    count = len(labelled)
    scores, sample_probabilities = [], []
    for sample in combinations_with_replacement(labelled, count):
        ways = math.factorial(count) / math.prod(math.factorial(times) for times in Counter(sample).values())
        scores.append(measure(select(predictions, list(sample))))
        sample_probabilities.append(ways / count**count)
    assert sum(sample_probabilities) == pytest.approx(1)
    intervals_by_name = {}
    for name in ("macro_f1", "micro_f1" if predictions.multi_label else "accuracy"):
        values = np.array([score[name] for score in scores])
        order = np.argsort(values)
        cumulative = np.cumsum(np.array(sample_probabilities)[order])
        low, high = (float(values[order][np.searchsorted(cumulative, quantile)]) for quantile in (0.025, 0.975))
        intervals_by_name[name] = low, high
    return intervals_by_name


def dense_intervals(predictions: Predictions) -> dict[str, tuple[float, float]]:
    """Compute the intervals with a matrix of kinds of rows and classes; slow with thousands of classes."""
    matrices = np.column_stack(label_matrices(predictions)).astype(int)
    kinds, counts = np.unique(matrices, axis=0, return_counts=True)
    times = np.random.default_rng(0).multinomial(len(matrices), counts / len(matrices), size=1000)
    true, predicted = np.split(kinds[:, :-1], 2, axis=1)
    hits, positives = times @ (true * predicted), times @ (true + predicted)
    samples = {"macro_f1": (2 * hits / np.maximum(1, positives)).mean(1), "accuracy": hits.sum(1) / len(matrices)}
    if predictions.multi_label:
        samples["micro_f1"] = 2 * hits.sum(1) / (positives.sum(1) + times @ kinds[:, -1])
        del samples["accuracy"]
    return {name: tuple(np.quantile(values, [0.025, 0.975]).tolist()) for name, values in samples.items()}


class TestIntervals:
    FIVE = single(
        ["a", "b", None, "c", "new", "a"],
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]],
        ABC,
    )
    FIVE_SETS = multi_label(
        [["a", "b"], ["b"], ["c", "new"], None, ["a"], []],
        [[0.9, 0.8, 0.1], [0.2, 0.6, 0.1], [0.1, 0.2, 0.4], [0.9, 0.9, 0.9], [0.7, 0.1, 0.2], [0.1, 0.1, 0.6]],
        ABC,
    )

    @pytest.mark.parametrize("predictions", [FIVE, FIVE_SETS], ids=["single", "multi_label"])
    def test_agree_with_all_bootstrap_samples(self, predictions: Predictions) -> None:
        scores, expected = intervals(predictions, draws=100_000), exact_intervals(predictions)
        assert scores.keys() == expected.keys()
        for name, interval in expected.items():
            assert scores[name] == pytest.approx(interval), name

    @pytest.mark.parametrize("is_multi_label", [False, True])
    def test_equal_those_of_dense_matrices(self, is_multi_label: bool) -> None:
        random = np.random.default_rng(0)
        classes = [f"c{number}" for number in range(19)]
        names = [*classes, "new"]
        rows = random.random((90, len(classes))).tolist()
        if is_multi_label:
            sets = [[name for name in names if random.random() < 0.2] for _ in rows]
            predictions = multi_label(sets, rows, classes)
        else:
            predictions = single([str(random.choice(names)) for _ in rows], rows, classes)
        assert intervals(predictions) == dense_intervals(predictions)

    @pytest.mark.parametrize(("rows", "correct"), [(40, 30), (200, 190), (1000, 500)])
    def test_accuracy_is_a_binomial_fraction(self, rows: int, correct: int) -> None:
        probabilities = [[0.9, 0.1]] * correct + [[0.1, 0.9]] * (rows - correct)
        scores = intervals(single(["a"] * rows, probabilities, ["a", "b"]), draws=100_000)["accuracy"]
        expected = binom.ppf([0.025, 0.975], rows, correct / rows) / rows
        assert scores == pytest.approx(tuple(expected), abs=1e-9)

    def test_contain_the_score_and_are_deterministic(self) -> None:
        scores = intervals(SIX)
        assert scores == intervals(SIX) and scores.keys() == {"accuracy", "macro_f1"}
        for name, (low, high) in scores.items():
            assert 0 <= low < measure(SIX)[name] < high <= 1, name

    def test_are_empty_without_labels_and_a_point_if_all_is_correct(self) -> None:
        assert intervals(single([None, None], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"])) == {}
        assert intervals(single(["a"] * 3, [[0.9, 0.1]] * 3, ["a", "b"]))["accuracy"] == (1.0, 1.0)


class TestACollapsedModel:
    @staticmethod
    def answer(labels: list[int], answers: list[int]) -> Predictions:
        rows = np.eye(3)[answers].tolist()
        return single(["abc"[label] for label in labels], rows, ["a", "b", "c"])

    def test_answers_one_class(self) -> None:
        assert has_collapsed(self.answer([0, 1] * 50, [1] * 100))
        assert has_collapsed(self.answer([0] * 99 + [1], [0] * 100))

    def test_may_answer_another_class_for_few_rows(self) -> None:
        assert has_collapsed(self.answer([0, 1] * 50, [1] * 98 + [0] * 2))
        assert not has_collapsed(self.answer([0, 1] * 50, [1] * 97 + [0] * 3))
        assert not has_collapsed(self.answer([0] * 99 + [1], [0] * 99 + [2]))

    def test_is_not_one_whose_rows_all_have_one_label(self) -> None:
        assert not has_collapsed(self.answer([1] * 10, [1] * 10))
        assert not has_collapsed(single([None, None], [[0.9, 0.1]] * 2, ["a", "b"]))

    def test_answers_one_set_of_labels(self) -> None:
        labels = [["a"], ["a", "b"], []] * 40
        assert has_collapsed(multi_label(labels, [[0.9, 0.9]] * 120, ["a", "b"]))
        assert not has_collapsed(multi_label(labels, [[0.9, 0.9], [0.9, 0.1], [0.1, 0.1]] * 40, ["a", "b"]))
