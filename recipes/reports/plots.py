"""Plots of runs: the learning curve, the confusion matrix, the reliability diagram, validation scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from recipes.metrics import BINS, Predictions, confidences
from recipes.reports.smoothing import smooth
from recipes.runs.files import atomic_write

# Late imports in this module: matplotlib takes a third of a second, and pictures are the last files of a run.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NAME_LENGTH = 40
"""Characters of a class name; the rest is cut off."""
MAX_TICKS = 30
"""Classes up to which the confusion matrix has names and counts."""


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure, in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    # Names of classes and runs may hold dollar signs, which are no formulas here.
    matplotlib.rcParams["text.parse_math"] = False
    return Figure(figsize=(width, height), layout="constrained")


def draw_learning_curve(history: Sequence[Mapping[str, Any]], metric: str, path: Path | IO[str]) -> None:
    """Draw the training loss, raw and smoothed, and the validation metric over the updates."""
    figure = new_figure(8, 4.5)
    axes = figure.add_subplot()
    updates = [line for line in history if "split" not in line and line["loss"] is not None]
    if updates:
        update_numbers, losses = [line["update"] for line in updates], [line["loss"] for line in updates]
        axes.plot(update_numbers, losses, color="tab:blue", alpha=0.25, linewidth=0.8, label="loss")
        axes.plot(update_numbers, smooth(losses), color="tab:blue", label="loss, smoothed")
    axes.set(xlabel="update", ylabel="training loss")
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    scores = [line for line in history if line.get("split") == "validation" and metric in line]
    right.plot(
        [line["update"] for line in scores],
        [line[metric] for line in scores],
        color="tab:orange",
        marker="o",
        label=f"validation {metric}",
    )
    right.set_ylabel(f"validation {metric}")
    figure.legend(loc="outside upper center", ncols=3)
    save(figure, path)


def count_confusions(predictions: Predictions) -> np.ndarray:
    """Count how often each label is predicted as each class, (label, predicted class).

    Rows without a known label are left out. Where a row has more than one label, a label that is predicted counts on
    the diagonal. One that is missed counts against each class that is predicted wrongly.
    """
    index = {name: column for column, name in enumerate(predictions.classes)}
    counts = np.zeros((len(index), len(index)), dtype=int)
    for label, prediction in zip(predictions.labels, predictions.names(), strict=True):
        labels = set(label) if isinstance(label, list) else {label}
        predicted = set(prediction) if isinstance(prediction, list) else {prediction}
        for name in labels & index.keys():
            counted_against = {name} if name in predicted else predicted - labels
            for other in counted_against:
                counts[index[name], index[other]] += 1
    return counts


def draw_confusion(predictions: Predictions, path: Path | IO[str]) -> None:
    """Draw the confusion matrix: fractions of a label's rows as shades, and counts where they fit."""
    counts = count_confusions(predictions)
    fractions = counts / np.maximum(1, counts.sum(1, keepdims=True))
    side = min(14.0, 3.5 + 0.45 * len(counts))
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="fraction of the label's rows", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="label")
    if len(counts) <= MAX_TICKS:
        names, font = _drawable_names(predictions.classes)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", font=font, parse_math=False)
        axes.set_yticks(range(len(names)), names, font=font, parse_math=False)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if fractions[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)
    save(figure, path)


def draw_reliability(predictions: Predictions, path: Path | IO[str]) -> None:
    """Draw accuracy against confidence, in bins; a calibrated model is on the diagonal."""
    confidence, right = confidences(predictions)
    figure = new_figure(5, 4.5)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="gray", linestyle="--", linewidth=0.8)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = np.flatnonzero(counts)
    centers = (filled + 0.5) / BINS
    accuracies = np.bincount(bins, right, BINS)[filled] / counts[filled]
    axes.bar(centers, accuracies, width=0.9 / BINS, color="tab:blue", alpha=0.7)
    for center, accuracy, count in zip(centers, accuracies, counts[filled], strict=True):
        axes.text(center, accuracy + 0.01, str(count), ha="center", fontsize=7)
    axes.set(xlabel="probability of the prediction", ylabel="fraction correct", xlim=(0, 1), ylim=(0, 1.06))
    save(figure, path)


def draw_scores(histories: Mapping[str, Sequence[Mapping[str, Any]]], metric: str, path: Path | IO[str]) -> None:
    """Draw the validation metric of several runs over the updates."""
    figure = new_figure(8, 4.5)
    axes = figure.add_subplot()
    for name, history in histories.items():
        scores = [line for line in history if line.get("split") == "validation" and metric in line]
        axes.plot([line["update"] for line in scores], [line[metric] for line in scores], marker="o", label=name)
    axes.set(xlabel="update", ylabel=f"validation {metric}")
    figure.legend(loc="outside upper center", ncols=1)
    save(figure, path)


def save(figure: "Figure", path: Path | IO[str]) -> None:
    """Write a figure.

    Args:
        figure: the figure.
        path: a file, which becomes a PNG, or a text stream, which gets SVG with its text as text.

    Raises:
        UserError: the disk is full or the file cannot be written.
    """
    if isinstance(path, Path):
        with atomic_write(path) as draft:
            figure.savefig(draft, dpi=120, format="png")
    else:
        import matplotlib

        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "trickbook"}):
            figure.savefig(path, format="svg", metadata={"Date": None})


def _drawable_names(names: Sequence[str]) -> tuple[list[str], Path | None]:
    """Shortened names and a font that has all their characters; numbers and None if no installed font does."""
    from matplotlib import font_manager

    short = [name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 3]}..." for name in names]
    characters = {ord(character) for name in short for character in name}
    fonts = sorted(font_manager.fontManager.ttflist, key=lambda font: font.name != "DejaVu Sans")
    for font in fonts:
        # The Last Resort font has a box for every character.
        is_plain = font.style == "normal" and font.weight == 400 and not font.name.startswith("Last Resort")
        if is_plain and characters <= font_manager.get_font(font.fname).get_charmap().keys():
            return short, Path(font.fname)
    return [str(index) for index in range(len(names))], None
