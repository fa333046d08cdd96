"""How good predictions are: plain numbers from labels and probabilities, per document."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import metrics as sk

SINGLE = ("accuracy", "macro_f1", "weighted_f1", "mcc", "loss", "ece")
RANKING = ("roc_auc", "average_precision")
TWO_CLASSES = (*SINGLE, *RANKING)
MULTI = ("micro_f1", "macro_f1", "subset_accuracy", "loss")
LOWER_IS_BETTER = ("loss", "ece")
BINS = 15
PROBABILITY_MARGIN = 1e-7
"""Clip a probability to [margin, 1 - margin] before the logarithms of both p and 1 - p are taken.

Probabilities are float32, where 1 - p is rounded to 1 below about 6e-8, and p to 1 as close to it. The logarithm of a
difference that small would be rounding error or -inf.
"""


@dataclass(frozen=True)
class Predictions:
    """What a model says of a split, in the data's order."""

    ids: Sequence[str]
    labels: Sequence[Any]
    """As the data has them: a name, a list of names, or None."""
    probabilities: np.ndarray
    """(row, class)."""
    decisions: np.ndarray
    """0/1, (row, class)."""
    classes: Sequence[str]
    multi_label: bool

    @property
    def has_label(self) -> np.ndarray:
        """Whether a row has one, (row)."""
        return np.array([label is not None for label in self.labels], dtype=bool)

    def names(self) -> list[str | list[str]]:
        """What is predicted, by name."""
        if self.multi_label:
            return [[self.classes[int(place)] for place in np.flatnonzero(row)] for row in self.decisions]
        return [self.classes[int(place)] for place in self.decisions.argmax(1)]


def available(num_classes: int, multi_label: bool) -> tuple[str, ...]:
    """The metrics that such data has."""
    if multi_label:
        return MULTI
    return TWO_CLASSES if num_classes == 2 else SINGLE


def measure(predictions: Predictions) -> dict[str, float]:
    """Every metric over the rows that have a label; empty where none has.

    A label that training has not seen is an error in accuracy and is left out of loss and ece, with the number of such
    rows as `unseen`; macro F1 is over the training classes.
    """
    kept = [row for row, label in enumerate(predictions.labels) if label is not None]
    if not kept:
        return {}
    labels = [predictions.labels[row] for row in kept]
    probabilities = np.clip(predictions.probabilities[kept].astype(np.float64), 1e-12, 1.0)
    number = {name: place for place, name in enumerate(predictions.classes)}
    if predictions.multi_label:
        return _measure_sets(predictions, probabilities)
    true = np.array([number.get(label, -1) for label in labels])
    chosen = predictions.decisions[kept].argmax(1)
    seen = true >= 0
    places = np.arange(len(number))
    found: dict[str, float] = {
        "accuracy": float((true == chosen).mean()),
        "macro_f1": sk.f1_score(true, chosen, labels=places, average="macro", zero_division=0),
        "weighted_f1": sk.f1_score(true, chosen, labels=places, average="weighted", zero_division=0),
        "mcc": _matthews_correlation(true, chosen),
        **_measure_probabilities(true[seen], probabilities[seen]),
    }
    if not seen.all():
        found["unseen"] = int((~seen).sum())
    return {name: value if name == "unseen" else float(value) for name, value in found.items()}


def _matthews_correlation(true: np.ndarray, chosen: np.ndarray) -> float:
    """Of several classes (Gorodkin 2004), -1 among them; 0 where either side is all of one class."""
    rows, hits = len(true), int((true == chosen).sum())
    asked, given = (np.bincount(side + 1, minlength=max(true.max(), chosen.max()) + 2) for side in (true, chosen))
    spread = float(rows**2 - asked @ asked) * float(rows**2 - given @ given)
    return float(hits * rows - asked @ given) / spread**0.5 if spread else 0.0


def _measure_probabilities(true: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """What no decision enters."""
    if not len(true):
        return {}
    found = {"loss": float(-np.log(probabilities[np.arange(len(true)), true]).mean())}
    right = probabilities.argmax(1) == true
    found["ece"] = calibration_error(probabilities.max(1), right)
    if probabilities.shape[1] == 2 and len(set(true)) == 2:
        found["roc_auc"] = sk.roc_auc_score(true, probabilities[:, 1])
        found["average_precision"] = sk.average_precision_score(true, probabilities[:, 1])
    return found


def _measure_sets(predictions: Predictions, probabilities: np.ndarray) -> dict[str, float]:
    true, chosen, strangers = marks(predictions)
    # A label that training has not seen is missed: it counts among the positives, and its row's set is wrong.
    hits, named = (true * chosen).sum(0), true.sum(0) + chosen.sum(0)
    other = np.clip(1 - probabilities, 1e-12, 1.0)
    return {
        "micro_f1": float(2 * hits.sum() / max(1, named.sum() + strangers.sum())),
        "macro_f1": float(f1(hits, named).mean()),
        "subset_accuracy": float(((true == chosen).all(1) & (strangers == 0)).mean()),
        "loss": float(-(true * np.log(probabilities) + (1 - true) * np.log(other)).mean()),
        **({"unseen": int(strangers.sum())} if strangers.any() else {}),
    }


def marks(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What rows with a label have, and what they are answered, in numbers.

    Returns:
        What is true and what is answered, (row, class) of 0 and 1; labels that training has not seen, (row).
    """
    number = {name: place for place, name in enumerate(predictions.classes)}
    kept = np.flatnonzero(predictions.has_label).tolist()
    chosen = predictions.decisions[kept].astype(np.int64)
    true, strangers = np.zeros_like(chosen), np.zeros(len(kept), dtype=np.int64)
    for place, row in enumerate(kept):
        label = predictions.labels[row]
        names = [label] if isinstance(label, str) else label
        true[place, [number[name] for name in names if name in number]] = 1
        strangers[place] = sum(name not in number for name in names)
    return true, chosen, strangers


def f1(hits: np.ndarray, named: np.ndarray) -> np.ndarray:
    """Each class's F1, from how often it is answered rightly, and how often it is true plus how often answered."""
    scores: np.ndarray = 2 * hits / np.maximum(1, named)
    return scores


def answers(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """How sure each answer is, and whether it is right; of several labels, each class of each row is an answer."""
    true, chosen, _ = marks(predictions)
    probabilities = predictions.probabilities[predictions.has_label]
    if predictions.multi_label:
        return np.where(chosen == 1, probabilities, 1 - probabilities).reshape(-1), (chosen == true).reshape(-1)
    rows, given = np.arange(len(true)), chosen.argmax(1)
    return probabilities[rows, given], true[rows, given] == 1


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017, arXiv 1706.04599)."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def better(metric: str, new: float, old: float | None) -> bool:
    """Whether a metric's value beats another."""
    if old is None:
        return True
    return new < old if metric in LOWER_IS_BETTER else new > old


def intervals(predictions: Predictions, draws: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % intervals of the scores that count answers, by drawing the labelled rows anew with replacement.

    They tell how far the score may move on other rows of the same kind; another training run moves it too.
    """
    true, chosen, strangers = marks(predictions)
    count, width = true.shape
    if not count:
        return {}
    # Rows that are alike in label and answer are drawn together: memory is that of the kinds there are.
    kinds, counts = np.unique(np.column_stack([true, chosen, strangers]), axis=0, return_counts=True)
    times = np.random.default_rng(seed).multinomial(count, counts / count, size=draws)
    true, chosen, strangers = kinds[:, :width], kinds[:, width:-1], kinds[:, -1]
    hits, named = times @ (true * chosen), times @ (true + chosen)
    found = {"macro_f1": f1(hits, named).mean(1)}
    if predictions.multi_label:
        found["micro_f1"] = 2 * hits.sum(1) / np.maximum(1, named.sum(1) + times @ strangers)
    else:
        found["accuracy"] = hits.sum(1) / count
    low_and_high = {name: np.quantile(values, [0.025, 0.975]) for name, values in found.items()}
    return {name: (float(low), float(high)) for name, (low, high) in low_and_high.items()}
