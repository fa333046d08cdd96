"""The contribution of each validation row to a score, so that the score is their mean; for every metric."""

import numpy as np

from recipes.errors import UserError
from recipes.metrics import (
    PROBABILITY_MARGIN,
    Predictions,
    available,
    average_over_classes,
    further_metrics,
    is_lower_better,
    label_matrices,
    measure,
    on_request,
    select,
)

# For these metrics, and for those that a config names by `_target_`, leaving out each row costs an evaluation of all
# others.
MAX_EVALUATIONS = 200
GROUPED_METRICS = ("ece", "average_precision")
PROPER_SCORES = ("loss", "brier")
"""Metrics that only the true probabilities make best. Each is a mean over rows, so it is exact by row."""
# Numbers that are in memory at a time.
NUMBERS_AT_ONCE = 1 << 22


def score_rows(predictions: Predictions, metric: str) -> np.ndarray:
    """Compute Tukey's pseudo-values: n times the score minus (n - 1) times the score without the row.

    For accuracy, a pseudo-value is 1 if the row is right and 0 if it is wrong. For the loss it is that of the row;
    a probability below 1e-7 counts as 1e-7.

    Args:
        predictions: of one split.
        metric: one of `metrics.json`. Its sign is flipped if lower is better, so that higher is always better.

    Returns:
        A value for each row that has a label, in order. For a metric of `GROUPED_METRICS` or of a config, a value for
        each of at most 200 random groups of rows, the same groups for every run. The mean of the values is the score.

    Raises:
        UserError: there is no such metric, these rows do not define it, or fewer than two of them have a label.
    """
    count = int(predictions.has_label.sum())
    names = available(len(predictions.classes), predictions.multi_label)
    if metric not in (*names, *on_request(predictions.multi_label)):
        raise UserError(f"evaluate.metric={metric} does not exist for this data, which has {', '.join(names)}.")
    if count < 2:
        raise UserError("data.validation has fewer than two rows with a label; effects need more to be measured on.")
    if metric in PROPER_SCORES:
        return -_score_rows_properly(predictions, metric)
    score = measure(predictions, [metric]).get(metric)
    if score is None:
        raise UserError(f"evaluate.metric={metric} has no value for these rows.")
    if metric in GROUPED_METRICS or further_metrics().get(metric):
        scores_without = _score_without_groups(predictions, metric, score)
    else:
        scores_without = _score_without_rows(predictions, metric)
    count = len(scores_without)
    values: np.ndarray = count * score - (count - 1) * scores_without
    # Shift, so that the mean is exactly the score.
    values += score - values.mean()
    return -values if is_lower_better(metric) else values


def mean_interval(rows: np.ndarray) -> tuple[float, float]:
    """The ends of the 95 % interval of the mean of rows, by Student's t."""
    from scipy.stats import t  # late: it takes half a second, and only a run that ends needs it

    mean, half = rows.mean(), t.ppf(0.975, len(rows) - 1) * rows.std(ddof=1) / len(rows) ** 0.5
    return float(mean - half), float(mean + half)


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


def _score_without_groups(predictions: Predictions, metric: str, score: float) -> np.ndarray:
    """The score without each of at most 200 random groups of rows, (group)."""
    labelled = select(predictions, np.flatnonzero(predictions.has_label))
    count = len(labelled.ids)
    groups = np.array_split(np.random.default_rng(0).permutation(count), min(MAX_EVALUATIONS, count))
    scores = []
    for group in groups:
        others = select(labelled, np.setdiff1d(np.arange(count), group))
        # Without the last rows of a label a metric may be undefined; then the score itself stands in.
        scores.append(measure(others, [metric]).get(metric, score))
    return np.array(scores)


def _score_without_rows(predictions: Predictions, metric: str) -> np.ndarray:
    """The score without each row, (row), computed from counts: no score is evaluated again."""
    true, predicted, unseen = label_matrices(predictions)
    if metric in ("mcc", "kappa"):
        return _agreement_without_rows(true, predicted, metric)
    if metric == "roc_auc":
        return _area_without_rows(predictions)
    if metric in ("accuracy", "subset_accuracy"):
        is_right = (true == predicted).all(1) & (unseen == 0)
        return np.asarray((is_right.sum() - is_right) / (len(is_right) - 1))
    hits = true * predicted
    if metric in ("micro_f1", "micro_precision", "micro_recall"):
        hits_of_row, true_of_row, predicted_of_row = hits.sum(1), true.sum(1) + unseen, predicted.sum(1)
        parts = {
            "micro_f1": (2 * hits_of_row, true_of_row + predicted_of_row),
            "micro_precision": (hits_of_row, predicted_of_row),
            "micro_recall": (hits_of_row, true_of_row),
        }
        above, below = (each.sum() - each for each in parts[metric])
        return np.asarray(above / np.maximum(1, below))
    totals = [each.sum(0) for each in (hits, true, predicted)]
    at_once = max(1, NUMBERS_AT_ONCE // true.shape[1])
    scores = []
    for first in range(0, len(true), at_once):
        rows = slice(first, first + at_once)
        counts = (total - each[rows] for total, each in zip(totals, (hits, true, predicted), strict=True))
        scores.append(average_over_classes(metric, *counts))
    return np.concatenate(scores)


def _area_without_rows(predictions: Predictions) -> np.ndarray:
    """The mean area under the ROC curve without each row, (row).

    The area of a class is the fraction of pairs in the right order, where one row has the class and the other has not.
    A row's part is the pairs that it is in, which follows from its rank (DeLong, DeLong and Clarke-Pearson 1988).
    """
    from scipy.stats import rankdata  # late: it takes half a second, and most metrics do without

    true, probabilities, is_scored = _align(predictions)
    count = true.shape[1]
    ranked = [1] if count == 2 and not predictions.multi_label else range(count)
    areas = []
    for index in ranked:
        is_true, values = true[is_scored, index] == 1, probabilities[is_scored, index]
        counts = np.array([(~is_true).sum(), is_true.sum()])
        if not counts.all():
            continue
        # Pairs in the right order that a row is in; a tie is half a pair.
        others_below = rankdata(values) - 1
        own_kind_below = np.empty(len(values))
        for kind in (is_true, ~is_true):
            own_kind_below[kind] = rankdata(values[kind]) - 1
        below = others_below - own_kind_below
        pairs = np.where(is_true, below, counts[1] - below)
        all_pairs = below[is_true].sum()
        left = np.where(is_true, counts[0] * (counts[1] - 1), (counts[0] - 1) * counts[1])
        area = all_pairs / counts.prod()
        # Without its last row a class has no area; then the area itself stands in.
        without = np.full(len(true), area)
        without[is_scored] = np.where(left > 0, (all_pairs - pairs) / np.maximum(1, left), area)
        areas.append(without)
    return np.asarray(np.mean(areas, axis=0))


def _agreement_without_rows(true: np.ndarray, predicted: np.ndarray, metric: str) -> np.ndarray:
    """The Matthews correlation or kappa without each row, (row); the formulas are those of `recipes.metrics`."""
    # An unseen label is one more class, as in `measure`.
    true_class, predicted_class = np.where(true.any(1), true.argmax(1), -1) + 1, predicted.argmax(1) + 1
    is_right, rows = true_class == predicted_class, len(true) - 1
    true_counts, predicted_counts = (
        np.bincount(classes, minlength=true.shape[1] + 1) for classes in (true_class, predicted_class)
    )
    products = true_counts @ predicted_counts - predicted_counts[true_class] - true_counts[predicted_class] + is_right
    covariances = (is_right.sum() - is_right) * rows - products
    if metric == "kappa":
        largest = (rows**2 - products).astype(float)
        return np.asarray(np.where(largest > 0, covariances / np.maximum(largest, 1), 0.0))
    true_squares = true_counts @ true_counts - 2 * true_counts[true_class] + 1
    predicted_squares = predicted_counts @ predicted_counts - 2 * predicted_counts[predicted_class] + 1
    variances = (rows**2 - true_squares).astype(float) * (rows**2 - predicted_squares)
    correlations: np.ndarray = np.where(variances > 0, covariances / np.sqrt(np.maximum(variances, 1)), 0.0)
    return correlations
