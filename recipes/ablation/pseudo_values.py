"""The contribution of each validation row to a score, so that the score is their mean; for every metric."""

from dataclasses import replace

import numpy as np

from recipes.errors import UserError
from recipes.metrics import LOWER_IS_BETTER, Predictions, available, label_matrices, measure

# For metrics of probabilities no two rows are equal, and leaving out each row costs an evaluation of all others.
MAX_EVALUATIONS = 200
PROBABILITY_METRICS = ("loss", "ece", "roc_auc", "average_precision")


def score_rows(predictions: Predictions, metric: str) -> np.ndarray:
    """Compute Tukey's pseudo-values: n times the score minus (n - 1) times the score without the row.

    For accuracy, a pseudo-value is 1 if the row is right and 0 if it is wrong.

    Args:
        predictions: of one split.
        metric: one of `metrics.json`. Its sign is flipped if lower is better, so that higher is always better.

    Returns:
        A value for each row that has a label, in order. For a metric of probabilities, a value for each of at most 200
        random groups of rows, the same groups for every run. The mean of the values is the score.

    Raises:
        UserError: there is no such metric, or fewer than two rows with a label.
    """
    labelled = np.flatnonzero(predictions.has_label)
    names = available(len(predictions.classes), predictions.multi_label)
    if metric not in names:
        raise UserError(f"evaluate.metric={metric} does not exist for this data, which has {', '.join(names)}.")
    if len(labelled) < 2:
        raise UserError("data.validation has fewer than two rows with a label; effects need more to be measured on.")
    score = measure(predictions)[metric]
    if metric in PROBABILITY_METRICS:
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
