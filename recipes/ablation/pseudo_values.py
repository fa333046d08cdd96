"""The contribution of each validation row to a score, so that the score is their mean; for every metric."""

from dataclasses import replace

import numpy as np

from recipes.errors import UserError
from recipes.metrics import LOWER_IS_BETTER, PROBABILITY_MARGIN, Predictions, available, label_matrices, measure

# For these metrics of probabilities no two rows are equal, and leaving out each row costs an evaluation of all others.
MAX_EVALUATIONS = 200
GROUPED_METRICS = ("ece", "roc_auc", "average_precision")
PROPER_SCORES = ("loss", "brier")
"""Metrics that only the true probabilities make best. Each is a mean over rows, so it is exact by row."""


def score_rows(predictions: Predictions, metric: str) -> np.ndarray:
    """Compute Tukey's pseudo-values: n times the score minus (n - 1) times the score without the row.

    For accuracy, a pseudo-value is 1 if the row is right and 0 if it is wrong. For the loss it is that of the row;
    a probability below 1e-7 counts as 1e-7.

    Args:
        predictions: of one split.
        metric: one of `metrics.json`. Its sign is flipped if lower is better, so that higher is always better.

    Returns:
        A value for each row that has a label, in order. For a metric of `GROUPED_METRICS`, a value for each of at most
        200 random groups of rows, the same groups for every run. The mean of the values is the score.

    Raises:
        UserError: there is no such metric, or fewer than two rows with a label.
    """
    labelled = np.flatnonzero(predictions.has_label)
    names = available(len(predictions.classes), predictions.multi_label)
    if metric not in names:
        raise UserError(f"evaluate.metric={metric} does not exist for this data, which has {', '.join(names)}.")
    if len(labelled) < 2:
        raise UserError("data.validation has fewer than two rows with a label; effects need more to be measured on.")
    if metric in PROPER_SCORES:
        return -_score_rows_properly(predictions, metric)
    score = measure(predictions)[metric]
    if metric in GROUPED_METRICS:
        shuffled = np.random.default_rng(0).permutation(len(labelled))
        groups = np.array_split(labelled[shuffled], min(MAX_EVALUATIONS, len(labelled)))
        group_of_value = np.arange(len(groups))
    else:
        # Rows with equal label and decision have equal pseudo-values, so one evaluation is enough for all of them.
        true, predicted, unseen = label_matrices(predictions)
        _, first_rows, group_of_row = np.unique(
            np.column_stack([true, predicted, unseen]), axis=0, return_index=True, return_inverse=True
        )
        groups = [labelled[[row]] for row in first_rows.tolist()]
        group_of_value = group_of_row.reshape(-1)
    # Without the last rows of a label a metric may be undefined; then the score itself stands in.
    scores_without = np.array(
        [measure(_without_rows(predictions, labelled, group)).get(metric, score) for group in groups]
    )
    count = len(group_of_value)
    values: np.ndarray = count * score - (count - 1) * scores_without[group_of_value]
    # Shift, so that the mean is exactly the score.
    values += score - values.mean()
    return -values if metric in LOWER_IS_BETTER else values


def _score_rows_properly(predictions: Predictions, metric: str) -> np.ndarray:
    """Compute the pseudo-values of a proper score, (row with a label).

    A row whose label training does not have is not scored. Leaving it out changes nothing, so its value is the score.
    """
    true, probabilities, is_scored = _align(predictions)
    if metric == "brier":
        terms = (probabilities - true) ** 2
    else:
        p = np.clip(probabilities, PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN if predictions.multi_label else 1)
        terms = -true * np.log(p)
        if predictions.multi_label:
            terms -= (1 - true) * np.log(1 - p)
    rows = terms.mean(1) if predictions.multi_label else terms.sum(1)
    scored = int(is_scored.sum())
    score = float(rows[is_scored].mean()) if scored else 0.0
    # n times the score minus (n - 1) times the score of the other scored rows.
    factor = (len(rows) - 1) / max(1, scored - 1)
    values: np.ndarray = np.where(is_scored, score + factor * (rows - score), score)
    return values


def _align(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels and probabilities of the rows with a label, each (row, class), and whether a row is scored, (row)."""
    true, _, unseen = label_matrices(predictions)
    probabilities = predictions.probabilities[predictions.has_label].astype(np.float64)
    return true, probabilities, (unseen == 0) | predictions.multi_label


def count_clipped_rows(predictions: Predictions) -> int:
    """Count the rows whose log loss is clipped: what is true has a probability below 1e-7."""
    true, probabilities, is_scored = _align(predictions)
    of_truth = np.where(true == 1, probabilities, 1 - probabilities if predictions.multi_label else 1.0)
    return int((is_scored & (of_truth < PROBABILITY_MARGIN).any(1)).sum())


def count_unseen_rows(predictions: Predictions) -> int:
    """Count the rows with a label that training does not have."""
    *_, unseen = label_matrices(predictions)
    return int((unseen > 0).sum())


def _without_rows(predictions: Predictions, labelled: np.ndarray, group: np.ndarray) -> Predictions:
    """Keep only the labelled rows outside a group."""
    others = np.setdiff1d(labelled, group)
    return replace(
        predictions,
        ids=[predictions.ids[row] for row in others.tolist()],
        labels=[predictions.labels[row] for row in others.tolist()],
        probabilities=predictions.probabilities[others],
        decisions=predictions.decisions[others],
    )
