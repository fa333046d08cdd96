"""What the validation rows add to a score, row by row, so that the score is their mean, for every metric there is."""

from dataclasses import replace

import numpy as np

from recipes.errors import UserError
from recipes.metrics import LOWER_IS_BETTER, Predictions, available, label_matrices, measure

# Of a metric that looks at probabilities no two rows are alike, and leaving out each costs a reading of all others.
MOST_READINGS = 200
ON_PROBABILITIES = ("loss", "ece", "roc_auc", "average_precision")


def row_scores(predictions: Predictions, metric: str) -> np.ndarray:
    """Tukey's pseudo-values: n times the score less n - 1 times that without the row; of accuracy, right or wrong.

    Args:
        predictions: of one split.
        metric: one of `metrics.json`; turned round where lower is better, so that more is always better.

    Returns:
        A number for each row that has a label, in order, or, of a metric that looks at probabilities, for each of at
        most 200 groups of rows drawn by chance, the same for every run; their mean is the score.

    Raises:
        UserError: there is no such metric, or fewer than two rows with a label.
    """
    kept = np.flatnonzero(predictions.has_label)
    names = available(len(predictions.classes), predictions.multi_label)
    if metric not in names:
        raise UserError(f"evaluate.metric={metric} does not exist for this data, which has {', '.join(names)}.")
    if len(kept) < 2:
        raise UserError("data.validation has fewer than two rows with a label; effects need more to be measured on.")
    whole = measure(predictions)[metric]
    if metric in ON_PROBABILITIES:
        shuffled = np.random.default_rng(0).permutation(len(kept))
        groups = np.array_split(kept[shuffled], min(MOST_READINGS, len(kept)))
        places = np.arange(len(groups))
    else:
        # Rows that are alike in label and answer are alike to the metric.
        true, chosen, strangers = label_matrices(predictions)
        _, first, alike = np.unique(
            np.column_stack([true, chosen, strangers]), axis=0, return_index=True, return_inverse=True
        )
        groups, places = [kept[[row]] for row in first.tolist()], alike.reshape(-1)
    # Where rows are the last of their label a metric may be undefined without them: then they tell nothing.
    without = np.array([measure(_less(predictions, kept, group)).get(metric, whole) for group in groups])
    scores: np.ndarray = len(places) * whole - (len(places) - 1) * without[places]
    scores += whole - scores.mean()
    return -scores if metric in LOWER_IS_BETTER else scores


def _less(predictions: Predictions, kept: np.ndarray, group: np.ndarray) -> Predictions:
    """Without some of the rows that have a label."""
    others = np.setdiff1d(kept, group)
    return replace(
        predictions,
        ids=[predictions.ids[place] for place in others.tolist()],
        labels=[predictions.labels[place] for place in others.tolist()],
        probabilities=predictions.probabilities[others],
        decisions=predictions.decisions[others],
    )
