"""Metrics of predictions, computed per document with NumPy and scikit-learn."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SINGLE = ("accuracy", "macro_f1", "weighted_f1", "mcc", "loss", "brier", "ece")
RANKING = ("roc_auc", "average_precision")
TWO_CLASSES = (*SINGLE, *RANKING)
MULTI = ("micro_f1", "macro_f1", "subset_accuracy", "loss", "brier")
LOWER_IS_BETTER = ("loss", "brier", "ece")
MIN_SPREAD = 0.05
"""A model has collapsed if fewer answers than this fraction of the labels are outside their most frequent class."""
# Bins of the expected calibration error.
BINS = 15
# A model may give a label the probability 0, of which the log is -inf. With this minimum a row's loss is at most 27.6.
MIN_PROBABILITY = 1e-12
# Numbers of a bootstrap sample that are in memory at a time.
COUNTS_AT_ONCE = 1 << 18
PROBABILITY_MARGIN = 1e-7
"""Clip a probability to [margin, 1 - margin] before the logarithms of both p and 1 - p are taken.

Probabilities are float32, where 1 - p is rounded to 1 below about 6e-8, and p to 1 as close to it. The logarithm of a
difference that small would be rounding error or -inf.
"""


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for a split, in the order of the data."""

    ids: Sequence[str]
    labels: Sequence[Any]
    """As in the data: a name, a list of names, or None."""
    probabilities: np.ndarray
    """(row, class)."""
    decisions: np.ndarray
    """0 or 1, (row, class)."""
    classes: Sequence[str]
    multi_label: bool

    @property
    def has_label(self) -> np.ndarray:
        """Whether each row has a label, (row)."""
        return np.array([label is not None for label in self.labels], dtype=bool)

    def names(self) -> list[str | list[str]]:
        """The predicted labels by name: one per row, or a list per row if multi-label."""
        if self.multi_label:
            return [[self.classes[int(index)] for index in np.flatnonzero(row)] for row in self.decisions]
        return [self.classes[int(index)] for index in self.decisions.argmax(1)]


def available(num_classes: int, multi_label: bool) -> tuple[str, ...]:
    """The names of the metrics that `measure` returns for such data."""
    if multi_label:
        return MULTI
    return TWO_CLASSES if num_classes == 2 else SINGLE


def measure(predictions: Predictions) -> dict[str, float]:
    """Compute every metric over the rows that have a label.

    A label that training does not have counts as an error in accuracy and is left out of loss, brier and ece; `unseen`
    is the number of such labels, if there are any. Macro F1 is the mean over the training classes. The Brier score of a
    row is the sum over the classes of (probability - 1 or 0)^2 (Brier 1950); if multi-label, the mean over the labels.

    Returns:
        Values by name; empty if no row has a label.
    """
    # Imported when there is something to score: scikit-learn takes half a second, and no start has to wait for it.
    from sklearn.metrics import f1_score

    labelled = [row for row, label in enumerate(predictions.labels) if label is not None]
    if not labelled:
        return {}
    labels = [predictions.labels[row] for row in labelled]
    # In float64, in which 1 - MIN_PROBABILITY is not 1.
    probabilities = np.clip(predictions.probabilities[labelled].astype(np.float64), MIN_PROBABILITY, 1.0)
    if predictions.multi_label:
        return _measure_multi_label(predictions, probabilities)
    class_index = {name: index for index, name in enumerate(predictions.classes)}
    true = np.array([class_index.get(label, -1) for label in labels])
    predicted = predictions.decisions[labelled].argmax(1)
    is_seen = true >= 0
    classes = np.arange(len(class_index))
    scores: dict[str, float] = {
        "accuracy": float((true == predicted).mean()),
        "macro_f1": f1_score(true, predicted, labels=classes, average="macro", zero_division=0),
        "weighted_f1": f1_score(true, predicted, labels=classes, average="weighted", zero_division=0),
        "mcc": _matthews_correlation(true, predicted),
        **measure_probabilities(true[is_seen], probabilities[is_seen]),
    }
    if not is_seen.all():
        scores["unseen"] = int((~is_seen).sum())
    return {name: value if name == "unseen" else float(value) for name, value in scores.items()}


def has_collapsed(predictions: Predictions) -> bool:
    """Whether a model answers one class for nearly every row, while the labels have more than one.

    The answers outside the class that it predicts most are fewer than 5 % of the labels outside the majority class. So
    the rule holds for balanced and for rare classes. For rows with more than one label, a set of labels is a class.
    """
    return answer_spread(predictions) < MIN_SPREAD


def answer_spread(predictions: Predictions) -> float:
    """The answers outside their most frequent class, for each label outside the majority class.

    It is inf if all labels are of one class. Only rows that have a label count. For rows with more than one label, a
    set of labels is a class.
    """
    labelled = np.flatnonzero(predictions.has_label)
    names = predictions.names()

    def count_outside_the_most_frequent(values: list[Any]) -> int:
        counts = Counter(tuple(sorted(value)) if isinstance(value, list) else value for value in values)
        return len(values) - max(counts.values(), default=0)

    other_answers = count_outside_the_most_frequent([names[row] for row in labelled.tolist()])
    other_labels = count_outside_the_most_frequent([predictions.labels[row] for row in labelled.tolist()])
    return other_answers / other_labels if other_labels else float("inf")


def _matthews_correlation(true: np.ndarray, predicted: np.ndarray) -> float:
    """Matthews correlation for any number of classes (Gorodkin 2004), with -1, an unseen label, as one more class.

    It is 0 if all true or all predicted labels are of one class.
    """
    rows, correct = len(true), int((true == predicted).sum())
    num_classes = max(true.max(), predicted.max()) + 2
    true_counts = np.bincount(true + 1, minlength=num_classes)
    predicted_counts = np.bincount(predicted + 1, minlength=num_classes)
    variances = float(rows**2 - true_counts @ true_counts) * float(rows**2 - predicted_counts @ predicted_counts)
    covariance = float(correct * rows - true_counts @ predicted_counts)
    return covariance / variances**0.5 if variances else 0.0


def measure_probabilities(
    true: np.ndarray, probabilities: np.ndarray, names: Sequence[str] = ("loss", "brier", "ece", *RANKING)
) -> dict[str, float]:
    """Compute the metrics that depend on probabilities only, not on decisions.

    Args:
        true: the index of each row's label, (row).
        probabilities: (row, class).
        names: of the metrics; those that these rows do not define are left out of the result.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score  # late, as in `measure`

    if not len(true):
        return {}
    of_true = probabilities[np.arange(len(true)), true]
    scores: dict[str, Callable[[], float]] = {
        "loss": lambda: float(-np.log(of_true).mean()),
        # The squared difference of the true class is p^2 - 2p + 1, and of every other class p^2.
        "brier": lambda: float(((probabilities**2).sum(1) - 2 * of_true + 1).mean()),
        "ece": lambda: calibration_error(probabilities.max(1), probabilities.argmax(1) == true),
    }
    if probabilities.shape[1] == 2 and len(set(true)) == 2:
        scores["roc_auc"] = lambda: roc_auc_score(true, probabilities[:, 1])
        scores["average_precision"] = lambda: average_precision_score(true, probabilities[:, 1])
    return {name: score() for name, score in scores.items() if name in names}


def _measure_multi_label(predictions: Predictions, probabilities: np.ndarray) -> dict[str, float]:
    true, predicted, unseen = label_matrices(predictions)
    # A label that training does not have is a false negative: it counts in micro F1, and its row's set is wrong.
    hits, positives = (true * predicted).sum(0), true.sum(0) + predicted.sum(0)
    complements = np.clip(1 - probabilities, MIN_PROBABILITY, 1.0)
    return {
        "micro_f1": float(2 * hits.sum() / max(1, positives.sum() + unseen.sum())),
        "macro_f1": float(f1(hits, positives).mean()),
        "subset_accuracy": float(((true == predicted).all(1) & (unseen == 0)).mean()),
        "loss": float(-(true * np.log(probabilities) + (1 - true) * np.log(complements)).mean()),
        "brier": float(((probabilities - true) ** 2).mean()),
        **({"unseen": int(unseen.sum())} if unseen.any() else {}),
    }


def label_matrices(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode the true and the predicted labels of the rows that have a label.

    Returns:
        True labels and predicted labels, each (row, class) of 0 and 1; the number of labels that training does not
        have, (row).
    """
    class_index = {name: index for index, name in enumerate(predictions.classes)}
    labelled = np.flatnonzero(predictions.has_label).tolist()
    predicted = predictions.decisions[labelled].astype(np.int8)
    true, unseen = np.zeros_like(predicted), np.zeros(len(labelled), dtype=np.int64)
    for index, row in enumerate(labelled):
        label = predictions.labels[row]
        names = [label] if isinstance(label, str) else label
        true[index, [class_index[name] for name in names if name in class_index]] = 1
        unseen[index] = sum(name not in class_index for name in names)
    return true, predicted, unseen


def f1(hits: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """F1 of each class; 0 for a class that is neither true nor predicted anywhere.

    Args:
        hits: how often the class is both true and predicted, (..., class).
        positives: how often it is true plus how often it is predicted, (..., class).
    """
    scores: np.ndarray = 2 * hits / np.maximum(1, positives)
    return scores


def confidences(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of each decision, and whether it is correct.

    Returns:
        Probabilities of the decisions and booleans, each (row); if multi-label, each class of each row is a decision,
        (row * class).
    """
    true, predicted, _ = label_matrices(predictions)
    probabilities = predictions.probabilities[predictions.has_label]
    if predictions.multi_label:
        probabilities = np.where(predicted == 1, probabilities, 1 - probabilities)
        return probabilities.reshape(-1), (predicted == true).reshape(-1)
    rows, classes = np.arange(len(true)), predicted.argmax(1)
    return probabilities[rows, classes], true[rows, classes] == 1


def calibration_error(confidence: np.ndarray, is_correct: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017, arXiv 1706.04599).

    Args:
        confidence: probability of each decision, (decision).
        is_correct: whether it is right, (decision).
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, confidence - is_correct, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def is_better(metric: str, new: float, old: float | None) -> bool:
    """Whether a metric's new value is better than the old one; any value is better than None."""
    if old is None:
        return True
    return new < old if metric in LOWER_IS_BETTER else new > old


def intervals(predictions: Predictions, draws: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Bootstrap 95 % intervals of the F1 scores and of accuracy, over the rows that have a label.

    They cover the chance of which rows are in the split, not that of the training run.

    Args:
        predictions: of a split.
        draws: bootstrap samples.
        seed: of the draws.

    Returns:
        Lower and upper ends by name of the metric; empty if no row has a label.
    """
    from scipy.sparse import csr_array  # late, as in `measure`

    true, predicted, unseen = label_matrices(predictions)
    count = len(true)
    if not count:
        return {}
    # Draw how often each kind of row occurs, where a kind is a combination of true and predicted labels. Memory is then
    # proportional to the kinds, not to the rows.
    first_rows, counts = _kinds(true, predicted, unseen)
    random = np.random.default_rng(seed)
    true, predicted, unseen = true[first_rows], predicted[first_rows], unseen[first_rows]
    # A row has few of the classes, so with many classes almost all entries are 0.
    is_hit, is_positive = csr_array(true * predicted), csr_array(true + predicted)
    samples: dict[str, list[np.ndarray]] = defaultdict(list)
    at_once = max(1, COUNTS_AT_ONCE // len(counts))
    for first in range(0, draws, at_once):
        times = random.multinomial(count, counts / count, size=min(at_once, draws - first))
        hits, positives = (np.ascontiguousarray(times @ each) for each in (is_hit, is_positive))
        samples["macro_f1"].append(f1(hits, positives).mean(1))
        if predictions.multi_label:
            samples["micro_f1"].append(2 * hits.sum(1) / np.maximum(1, positives.sum(1) + times @ unseen))
        else:
            samples["accuracy"].append(hits.sum(1) / count)
    ends = {name: np.quantile(np.concatenate(parts), [0.025, 0.975]) for name, parts in samples.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _kinds(true: np.ndarray, predicted: np.ndarray, unseen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the different rows of `label_matrices`.

    Returns:
        The index of the first row of each kind and the number of its rows, each (kind), in the order of the labels.
    """
    # A row as a string of bits: comparing two strings takes one call, comparing two rows one for each class.
    bits = np.column_stack([np.packbits(true, axis=1), np.packbits(predicted, axis=1)])
    rows = np.column_stack([bits, unseen.astype(">i8").view(np.uint8).reshape(len(unseen), 8)])
    strings = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").reshape(-1)
    _, first_rows, counts = np.unique(strings, return_index=True, return_counts=True)
    return first_rows, counts
