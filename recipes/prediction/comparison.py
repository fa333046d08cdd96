"""Compare two models on the same rows, with a paired interval."""

from dataclasses import dataclass

from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.prediction.pseudo_values import mean_interval, score_rows


@dataclass(frozen=True)
class Improvement:
    """How much better one model is than another on the same rows. Positive is better, for every metric."""

    difference: float
    low: float
    """Lower end of the 95 % interval over rows."""
    high: float


def compare(predictions: Predictions, baseline: Predictions, metric: str) -> Improvement | None:
    """Compare a model with a baseline on the rows that have a label; None if there are fewer than two.

    The interval is that of a paired t test on the rows' contributions to the score. It covers the chance of which rows
    are in the split, not that of the training run.
    """
    try:
        gains = score_rows(predictions, metric) - score_rows(baseline, metric)
    except (UserError, KeyError):  # too few rows, or rows for which the metric is not defined
        return None
    return Improvement(float(gains.mean()), *mean_interval(gains))


def has_same_rows(one: Predictions, other: Predictions) -> bool:
    """Whether two runs predicted the same rows, so that they can be compared row by row."""
    return list(one.ids) == list(other.ids) and list(one.labels) == list(other.labels)
