"""The part of a page on classes: their scores, what is taken for what, and how sure the model is."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.cells import cell_len

from recipes.metrics import BINS, Predictions, confidences, measure_classes
from recipes.reports.charts import Plot, Series, fit_axis
from recipes.reports.document import Cell, Charts, Folded, Heading, Part, Table
from recipes.reports.plots import count_confusions

MAX_MATRIX = 12
"""Classes up to which confusions are shown as a matrix."""
MAX_CLASSES = 20
"""Classes up to which all are shown at once."""
MAX_CONFUSIONS = 10
MAX_HEADER = 14
"""Width of a class name that is the header of a column."""


def class_parts(main: Predictions, split: str, level: int) -> Iterator[Part]:
    """Scores by class, confusions, and how far probabilities can be trusted.

    Args:
        main: predictions of the split.
        split: its name.
        level: of the headings.
    """
    yield Heading(f"Classes, on {split}", level)
    rows = list(_class_rows(main))
    header = ["class", "rows", "precision", "recall", "F1"]
    if len(rows) <= MAX_CLASSES:
        yield Table(header, [cells for _, cells in rows], "Scores by class.")
    else:
        lowest = [cells for _, cells in sorted(rows, key=lambda row: row[0])[:MAX_CONFUSIONS]]
        yield Table(header, lowest, f"The {len(lowest)} classes with the lowest F1.")
        yield Folded(f"All {len(rows)} classes", [Table(header, [cells for _, cells in rows], "Scores by class.")])
    counts = count_confusions(main)
    if len(counts) <= MAX_MATRIX:
        yield _confusion_matrix(main.classes, counts)
    if len(counts) > 2 and (confusions := list(_top_confusions(main.classes, counts))):
        header = ["label", "predicted as", "rows", "of the label's rows"]
        yield Table(header, confusions, "The most frequent confusions.")
    yield Heading("Can its probabilities be trusted?", level)
    yield Charts([reliability_plot(main)])


def _class_rows(predictions: Predictions) -> Iterator[tuple[float, list[str | Cell]]]:
    """The F1 of each class, and its row; a class without rows comes last."""
    for name, scores in measure_classes(predictions).items():
        cells = [Cell(f"{scores[kind]:.3f}", bar=scores[kind]) for kind in ("precision", "recall", "f1")]
        yield scores["f1"] if scores["support"] else 2.0, [name, f"{scores['support']:,}", *cells]


def _confusion_matrix(classes: Sequence[str], counts: np.ndarray) -> Table:
    fractions = counts / np.maximum(1, counts.sum(1, keepdims=True))
    # Columns of long names would be too wide, so each has the number of its row.
    are_short = max(map(cell_len, classes), default=0) <= MAX_HEADER
    header = ["label", *(f"as {name}" if are_short else f"as {number}" for number, name in enumerate(classes, 1))]
    rows: list[list[str | Cell]] = [
        [
            name if are_short else f"{row + 1}. {name}",
            *(Cell(f"{counts[row, column]:,}", shade=float(fractions[row, column])) for column in range(len(classes))),
        ]
        for row, name in enumerate(classes)
    ]
    return Table(header, rows, "Confusion matrix: rows of each label by predicted class; darker is more of the label.")


def _top_confusions(classes: Sequence[str], counts: np.ndarray) -> Iterator[list[str | Cell]]:
    errors = counts - np.diag(np.diag(counts))
    largest = np.argsort(-errors, axis=None, kind="stable")[:MAX_CONFUSIONS]
    for label, predicted in zip(*np.unravel_index(largest, errors.shape), strict=True):
        if count := int(errors[label, predicted]):
            fraction = count / counts[label].sum()
            yield [classes[label], classes[predicted], f"{count:,}", Cell(f"{fraction:.0%}", bar=float(fraction))]


def reliability_plot(predictions: Predictions) -> Plot:
    """Accuracy over confidence, in bins, with intervals of each; a calibrated model is on the diagonal."""
    confidence, right = confidences(predictions)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = np.flatnonzero(counts)
    hits, of_bin = np.bincount(bins, right, BINS)[filled], counts[filled]
    centers = np.bincount(bins, confidence, BINS)[filled] / of_bin
    accuracies = hits / of_bin
    # Wilson 1927: it stays between 0 and 1, also where all are right.
    z = 1.96
    middle = (hits + z**2 / 2) / (of_bin + z**2)
    half = z * np.sqrt(accuracies * (1 - accuracies) * of_bin + z**2 / 4) / (of_bin + z**2)
    points = list(zip(centers.tolist(), accuracies.tolist(), strict=True))
    bounds = list(zip((middle - half).tolist(), (middle + half).tolist(), strict=True))
    return Plot(
        "How often it is right, by how sure it is",
        fit_axis("probability of the prediction", [], 0, 1),
        fit_axis("fraction correct", [], 0, 1),
        [
            Series("as sure as it is right", [(0.0, 0.0), (1.0, 1.0)], 5, "guide"),
            Series("this run", points, 0, "marks", bounds),
        ],
        "On the dashed line it is as sure as it is right; below it, it is too sure. Lines are 95 % intervals.",
    )
