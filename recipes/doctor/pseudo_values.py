"""The contribution of each validation row to a score, so that the score is their mean; for every metric."""

import numpy as np

from recipes.errors import UserError
from recipes.metrics import (
    LOWER_IS_BETTER,
    MIN_PROBABILITY,
    Predictions,
    available,
    f1,
    label_matrices,
    measure,
    measure_probabilities,
)

# For metrics of probabilities no two rows are equal, and leaving out each row costs an evaluation of all others.
MAX_EVALUATIONS = 200
PROBABILITY_METRICS = ("loss", "ece", "roc_auc", "average_precision")
# Numbers that are in memory at a time.
NUMBERS_AT_ONCE = 1 << 22


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
    count = int(predictions.has_label.sum())
    names = available(len(predictions.classes), predictions.multi_label)
    if metric not in names:
        raise UserError(f"evaluate.metric={metric} does not exist for this data, which has {', '.join(names)}.")
    if count < 2:
        raise UserError("data.validation has fewer than two rows with a label; effects need more to be measured on.")
    score = measure(predictions)[metric]
    if metric in PROBABILITY_METRICS:
        scores_without = _score_without_groups(predictions, metric, score)
    else:
        scores_without = _score_without_rows(predictions, metric)
    count = len(scores_without)
    values: np.ndarray = count * score - (count - 1) * scores_without
    # Shift, so that the mean is exactly the score.
    values += score - values.mean()
    return -values if metric in LOWER_IS_BETTER else values


def _score_without_groups(predictions: Predictions, metric: str, score: float) -> np.ndarray:
    """The score without each of at most 200 random groups of rows, (group)."""
    true, _, _ = label_matrices(predictions)
    probabilities = np.clip(predictions.probabilities[predictions.has_label].astype(np.float64), MIN_PROBABILITY, 1.0)
    shuffled = np.random.default_rng(0).permutation(len(true))
    groups = np.array_split(shuffled, min(MAX_EVALUATIONS, len(true)))
    if predictions.multi_label:
        complements = np.clip(1 - probabilities, MIN_PROBABILITY, 1.0)
        losses = -(true * np.log(probabilities) + (1 - true) * np.log(complements)).mean(1)
        return np.array([(losses.sum() - losses[group].sum()) / (len(losses) - len(group)) for group in groups])
    # Rows with a label that training does not have have no part in these metrics.
    is_seen, classes = true.any(1), true.argmax(1)
    scores = []
    for group in groups:
        stays = is_seen.copy()
        stays[group] = False
        # Without the last rows of a label a metric may be undefined; then the score itself stands in.
        scores.append(measure_probabilities(classes[stays], probabilities[stays], [metric]).get(metric, score))
    return np.array(scores)


def _score_without_rows(predictions: Predictions, metric: str) -> np.ndarray:
    """The score without each row, (row), computed from counts: no score is evaluated again."""
    true, predicted, unseen = label_matrices(predictions)
    if metric == "mcc":
        return _correlation_without_rows(true, predicted)
    if metric in ("accuracy", "subset_accuracy"):
        is_right = (true == predicted).all(1) & (unseen == 0)
        return (is_right.sum() - is_right) / (len(is_right) - 1)
    hits, positives = (true * predicted).sum(0), true.sum(0) + predicted.sum(0)
    if metric == "micro_f1":
        all_hits, all_positives = hits.sum() - (true * predicted).sum(1), positives.sum() + unseen.sum()
        without: np.ndarray = 2 * all_hits / np.maximum(1, all_positives - (true + predicted).sum(1) - unseen)
        return without
    weights = true.sum(0)
    at_once = max(1, NUMBERS_AT_ONCE // len(weights))
    scores = []
    for first in range(0, len(true), at_once):
        rows = slice(first, first + at_once)
        of_classes = f1(hits - true[rows] * predicted[rows], positives - true[rows] - predicted[rows])
        if metric == "weighted_f1":
            weights_without = weights - true[rows]
            scores.append((of_classes * weights_without).sum(1) / np.maximum(1, weights_without.sum(1)))
        else:
            scores.append(of_classes.mean(1))
    return np.concatenate(scores)


def _correlation_without_rows(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The Matthews correlation without each row, (row); the formula is that of `recipes.metrics`."""
    # An unseen label is one more class, as in `measure`.
    true_class, predicted_class = np.where(true.any(1), true.argmax(1), -1) + 1, predicted.argmax(1) + 1
    is_right, rows = true_class == predicted_class, len(true) - 1
    true_counts, predicted_counts = (
        np.bincount(classes, minlength=true.shape[1] + 1) for classes in (true_class, predicted_class)
    )
    true_squares = true_counts @ true_counts - 2 * true_counts[true_class] + 1
    predicted_squares = predicted_counts @ predicted_counts - 2 * predicted_counts[predicted_class] + 1
    products = true_counts @ predicted_counts - predicted_counts[true_class] - true_counts[predicted_class] + is_right
    variances = (rows**2 - true_squares).astype(float) * (rows**2 - predicted_squares)
    covariances = (is_right.sum() - is_right) * rows - products
    correlations: np.ndarray = np.where(variances > 0, covariances / np.sqrt(np.maximum(variances, 1)), 0.0)
    return correlations
