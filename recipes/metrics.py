"""Metrics of predictions, computed per document with NumPy and scikit-learn."""

import inspect
import math
import numbers
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

OVER_CLASSES = ("macro_f1", "weighted_f1", "macro_precision", "macro_recall")
SINGLE = ("accuracy", *OVER_CLASSES, "kappa", "mcc", "loss", "brier", "ece", "roc_auc")
RANKING = ("roc_auc", "average_precision")
TWO_CLASSES = (*SINGLE, "average_precision")
MULTI = (
    *("micro_f1", "macro_f1", "subset_accuracy", "micro_precision", "micro_recall", "macro_precision", "macro_recall"),
    *("loss", "brier", *RANKING),
)
# Built-in metrics that are computed where `evaluate.metrics` names them, or `evaluate.metric`.
FURTHER_SINGLE = ("balanced_accuracy", "weighted_precision")
FURTHER_MULTI = ("weighted_f1", "weighted_precision", "weighted_recall")
LOWER_IS_BETTER = ("loss", "brier", "ece")
"""Of the built-in metrics; `is_lower_better` knows the others too."""
RAISED_BY_ROWS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors by which a function of a config refuses rows. They cost its score only; any other is a bug of it."""
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


@dataclass(frozen=True)
class CustomMetric:
    """A metric that a config names by `_target_`: a function of the true labels and of what is predicted.

    It gets class indices, in the order of the classes, or probabilities, (row, class), and for two classes those of
    the second alone. If rows have more than one label, both are (row, class). A row whose label training does not have
    is left out.
    """

    name: str
    function: Callable[..., Any] | None
    """None: it may not be called, for the reason in `problem`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Its keyword arguments. In `pos_label` and `labels`, classes have their names."""
    reads_probabilities: bool = False
    greater_is_better: bool = True
    problem: str = ""

    def compute(self, predictions: Predictions) -> float | str:
        """The score of rows that have a label, or why there is none, as the end of a sentence."""
        if self.function is None:
            return self.problem
        true, decided, unseen = label_matrices(predictions)
        is_seen = np.full(len(true), True) if predictions.multi_label else unseen == 0
        probabilities = predictions.probabilities[predictions.has_label][is_seen].astype(np.float64)
        true, decided = true[is_seen], decided[is_seen]
        if not predictions.multi_label:
            true, decided = true.argmax(1), decided.argmax(1)
            probabilities = probabilities[:, 1] if len(predictions.classes) == 2 else probabilities
        if not len(true):
            return "no row has a label that training has"
        settings = self._translate_classes(predictions)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = self.function(true, probabilities if self.reads_probabilities else decided, **settings)
        except RAISED_BY_ROWS as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
            return f"it raised {type(error).__name__}{f' ({reason})' if reason else ''}"
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
            return f"it returned {type(value).__name__}{shape}, not a number"
        return float(value) if math.isfinite(value) else f"it returned {value}"

    def _translate_classes(self, predictions: Predictions) -> dict[str, Any]:
        """The settings with indices for names of classes, and with all classes where a function asks for them."""
        index = {name: number for number, name in enumerate(predictions.classes)}
        settings = dict(self.settings)
        for name in ("pos_label", "labels"):
            value = settings.get(name)
            if isinstance(value, list):
                settings[name] = [index.get(str(each), each) for each in value]
            elif value is not None:
                settings[name] = index.get(str(value), value)
        # Without them, scikit-learn takes a class that no row has for one that does not exist.
        if self.reads_probabilities and not predictions.multi_label and "labels" in _parameters(self.function):
            settings.setdefault("labels", list(index.values()))
        return settings


def _parameters(function: Callable[..., Any] | None) -> Collection[str]:
    try:
        return inspect.signature(function).parameters if function else ()
    except (TypeError, ValueError):  # a function without a signature, such as one in C
        return ()


_further: ContextVar[Sequence[str | CustomMetric]] = ContextVar("further", default=())


@contextmanager
def scoring(further: Sequence[str | CustomMetric]) -> Iterator[None]:
    """Inside this context `measure` also computes these metrics: names of built-in ones, and functions."""
    token = _further.set(tuple(further))
    try:
        yield
    finally:
        _further.reset(token)


def further_metrics() -> Mapping[str, CustomMetric | None]:
    """The metrics of the config that is scored, by name; None for a built-in one."""
    return {
        each if isinstance(each, str) else each.name: None if isinstance(each, str) else each for each in _further.get()
    }


def available(num_classes: int, multi_label: bool) -> tuple[str, ...]:
    """The names of the metrics that `measure` returns for such data, if its rows define them."""
    built_in = MULTI if multi_label else TWO_CLASSES if num_classes == 2 else SINGLE
    known = (*built_in, *on_request(multi_label))
    further = [name for name, custom in further_metrics().items() if custom is not None or name in known]
    return tuple(dict.fromkeys([*built_in, *further]))


def on_request(multi_label: bool) -> tuple[str, ...]:
    """The names of the built-in metrics that are computed where a config names them."""
    return FURTHER_MULTI if multi_label else FURTHER_SINGLE


def measure(predictions: Predictions, names: Collection[str] | None = None) -> dict[str, float]:
    """Compute the metrics over the rows that have a label.

    A label that training does not have counts as an error in accuracy, kappa and mcc, and is left out of loss, brier,
    ece and roc_auc; `unseen` is the number of such labels, if there are any. Means over classes are over the training
    classes; that of roc_auc is over those that some rows have and others have not. The Brier score of a row is the sum
    over the classes of (probability - 1 or 0)^2 (Brier 1950); if multi-label, the mean over the labels.

    Args:
        predictions: of a split.
        names: the metrics; None: all, and `unseen`.

    Returns:
        Values by name, without the metrics that these rows do not define; empty if no row has a label.
    """
    labelled = select(predictions, np.flatnonzero(predictions.has_label))
    if not len(labelled.ids):
        return {}
    compute = _measure_multi_label if predictions.multi_label else _measure_single_label
    wanted = available(len(predictions.classes), predictions.multi_label) if names is None else names
    values = compute(labelled, wanted)
    for name, custom in further_metrics().items():
        if custom is not None and name in wanted and isinstance(value := custom.compute(labelled), float):
            values[name] = value
    scores = {name: float(values[name]) for name in wanted if name in values}
    unseen = int(label_matrices(labelled)[2].sum()) if names is None else 0
    return {**scores, "unseen": unseen} if unseen else scores


def select(predictions: Predictions, rows: np.ndarray) -> Predictions:
    """Some of the rows, by index."""
    indices = rows.tolist()
    return replace(
        predictions,
        ids=[predictions.ids[row] for row in indices],
        labels=[predictions.labels[row] for row in indices],
        probabilities=predictions.probabilities[rows],
        decisions=predictions.decisions[rows],
    )


def explain_missing(predictions: Predictions, scores: Mapping[str, float]) -> dict[str, str]:
    """Why metrics have no value for these rows, a sentence by name.

    Args:
        predictions: of a split.
        scores: what `measure` has returned for it.
    """
    missing = [
        name for name in available(len(predictions.classes), predictions.multi_label) if scores and name not in scores
    ]
    return {name: f"{name} has no value: {_explain_missing(predictions, name)}." for name in missing}


def _explain_missing(predictions: Predictions, name: str) -> str:
    if (custom := further_metrics().get(name)) is not None:
        return str(custom.compute(select(predictions, np.flatnonzero(predictions.has_label))))
    true, _, _ = label_matrices(predictions)
    if not true.any():
        return "no row has a label that training has"
    return "it ranks rows with a class above rows without it, and all rows have the same"


def _measure_single_label(predictions: Predictions, names: Collection[str]) -> dict[str, float]:
    """Compute metrics of rows that have a label."""
    class_index = {name: index for index, name in enumerate(predictions.classes)}
    true = np.array([class_index.get(label, -1) for label in predictions.labels])
    predicted = predictions.decisions.argmax(1)
    is_seen, count = true >= 0, len(class_index)
    hits, true_counts, predicted_counts = (
        np.bincount(each, minlength=count) for each in (true[true == predicted], true[is_seen], predicted)
    )
    scores: dict[str, Callable[[], float]] = {
        "accuracy": lambda: float((true == predicted).mean()),
        "kappa": lambda: _kappa(true, predicted),
        "mcc": lambda: _matthews_correlation(true, predicted),
        **{
            name: lambda name=name: average_over_classes(name, hits, true_counts, predicted_counts)  # type: ignore[misc]
            for name in (*OVER_CLASSES, *FURTHER_SINGLE)
        },
    }
    values = {name: score() for name, score in scores.items() if name in names}
    return {**values, **measure_probabilities(true[is_seen], _clip(predictions.probabilities[is_seen]), names)}


def _clip(probabilities: np.ndarray) -> np.ndarray:
    """In float64, in which 1 - MIN_PROBABILITY is not 1."""
    clipped: np.ndarray = np.clip(probabilities.astype(np.float64), MIN_PROBABILITY, 1.0)
    return clipped


def average_over_classes(metric: str, hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> Any:
    """A metric that is a mean over the classes, such as macro_f1; weighted means are by the true labels.

    Args:
        metric: its name.
        hits: how often each class is both true and predicted, (..., class).
        true: how often it is true, (..., class).
        predicted: how often it is predicted, (..., class).

    Returns:
        The score, (...).
    """
    average, _, kind = metric.partition("_")
    if metric == "balanced_accuracy":
        return class_scores("recall", hits, true, predicted).sum(-1) / np.maximum(1, np.count_nonzero(true, axis=-1))
    scores = class_scores(kind, hits, true, predicted)
    return (scores * true).sum(-1) / np.maximum(1, true.sum(-1)) if average == "weighted" else scores.mean(-1)


def class_scores(kind: str, hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1, precision or recall of each class, from the counts of `average_over_classes`; 0 where it is 0 / 0."""
    if kind == "f1":
        return f1(hits, true + predicted)
    scores: np.ndarray = hits / np.maximum(1, predicted if kind == "precision" else true)
    return scores


def measure_classes(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Compute precision, recall, F1 and support (rows) of each class, by its name; empty if no row has a label."""
    true, predicted, _ = label_matrices(predictions)
    if not len(true):
        return {}
    counts = (true * predicted).sum(0), true.sum(0), predicted.sum(0)
    by_kind = {kind: class_scores(kind, *counts).tolist() for kind in ("precision", "recall", "f1")}
    by_kind["support"] = counts[1].tolist()
    return {
        name: {kind: values[index] for kind, values in by_kind.items()}
        for index, name in enumerate(predictions.classes)
    }


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


def _kappa(true: np.ndarray, predicted: np.ndarray) -> float:
    """Cohen's kappa (Cohen 1960), with -1, an unseen label, as one more class.

    It is 0 if all true and all predicted labels are of one class: there is no agreement beyond chance.
    """
    num_classes = max(true.max(), predicted.max()) + 2
    by_chance = np.bincount(true + 1, minlength=num_classes) @ np.bincount(predicted + 1, minlength=num_classes)
    rows, correct = len(true), int((true == predicted).sum())
    return float(correct * rows - by_chance) / float(rows**2 - by_chance) if rows**2 > by_chance else 0.0


def measure_probabilities(
    true: np.ndarray, probabilities: np.ndarray, names: Collection[str] = ("loss", "brier", "ece", *RANKING)
) -> dict[str, float]:
    """Compute the metrics that depend on probabilities only, not on decisions.

    Args:
        true: the index of each row's label, (row).
        probabilities: (row, class).
        names: of the metrics; those that these rows do not define are left out of the result.
    """
    if not len(true):
        return {}
    of_true = probabilities[np.arange(len(true)), true]
    scores: dict[str, Callable[[], float]] = {
        "loss": lambda: float(-np.log(of_true).mean()),
        # The squared difference of the true class is p^2 - 2p + 1, and of every other class p^2.
        "brier": lambda: float(((probabilities**2).sum(1) - 2 * of_true + 1).mean()),
        "ece": lambda: calibration_error(probabilities.max(1), probabilities.argmax(1) == true),
    }
    # Of two classes the second is ranked. With more, each is ranked against the rest.
    ranked = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    is_true = np.stack([true == index for index in ranked], 1)
    return {
        **{name: score() for name, score in scores.items() if name in names},
        **_rank(is_true, probabilities[:, ranked], names),
    }


def _rank(is_true: np.ndarray, probabilities: np.ndarray, names: Collection[str]) -> dict[str, float]:
    """Means of the ranking metrics over the classes that some rows have and others have not; empty if there is none."""
    if not set(names) & set(RANKING):
        return {}
    counts = is_true.sum(0)
    defined = np.flatnonzero((counts > 0) & (counts < len(is_true)))
    scores = {"roc_auc": _roc_auc, "average_precision": _average_precision}
    # All classes in one call, which checks its input once.
    return {
        name: float(np.mean(score(is_true[:, defined], probabilities[:, defined])))
        for name, score in scores.items()
        if len(defined) and name in names
    }


# Imported when there is something to score: these packages take half a second, and no start has to wait for them.


def _roc_auc(is_true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The Mann-Whitney statistic of each class: twenty times as fast as tracing the curves of all classes."""
    from scipy.stats import rankdata

    positives = is_true.sum(0)
    ranks = (rankdata(probabilities, axis=0) * is_true).sum(0)
    areas: np.ndarray = (ranks - positives * (positives + 1) / 2) / (positives * (len(is_true) - positives))
    return areas


def _average_precision(is_true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    from sklearn.metrics import average_precision_score

    return np.asarray(average_precision_score(is_true, probabilities, average=None))


def _measure_multi_label(predictions: Predictions, names: Collection[str]) -> dict[str, float]:
    """Compute metrics of rows that have labels, or the empty list of them."""
    true, predicted, unseen = label_matrices(predictions)
    probabilities = _clip(predictions.probabilities)
    hits, true_counts, predicted_counts = (true * predicted).sum(0), true.sum(0), predicted.sum(0)
    # A label that training does not have is a false negative: it counts in micro scores, and its row's set is wrong.
    all_hits, all_true, all_predicted = hits.sum(), true_counts.sum() + unseen.sum(), predicted_counts.sum()
    complements = np.clip(1 - probabilities, MIN_PROBABILITY, 1.0)
    scores = {
        "micro_f1": 2 * all_hits / max(1, all_true + all_predicted),
        "micro_precision": all_hits / max(1, all_predicted),
        "micro_recall": all_hits / max(1, all_true),
        "subset_accuracy": ((true == predicted).all(1) & (unseen == 0)).mean(),
        "loss": -(true * np.log(probabilities) + (1 - true) * np.log(complements)).mean(),
        "brier": ((probabilities - true) ** 2).mean(),
        **{
            name: average_over_classes(name, hits, true_counts, predicted_counts)
            for name in ("macro_f1", "macro_precision", "macro_recall", *FURTHER_MULTI)
        },
        **_rank(true, probabilities, names),
    }
    return {name: float(value) for name, value in scores.items()}


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


def is_lower_better(metric: str) -> bool:
    """Whether less of a metric is better, also of one that the config names by `_target_`."""
    if (custom := further_metrics().get(metric)) is not None:
        return not custom.greater_is_better
    return metric in LOWER_IS_BETTER


def is_better(metric: str, new: float | None, old: float | None) -> bool:
    """Whether a metric's new value is better than the old one; any value is better than None."""
    if new is None or old is None:
        return new is not None
    return new < old if is_lower_better(metric) else new > old


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
