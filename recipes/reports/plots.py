"""The PNG pictures of a run: the learning curve and the confusion matrix. Pages draw their own charts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.metrics import Predictions
from recipes.reports.charts import shorten
from recipes.reports.smoothing import smooth
from recipes.runs.files import atomic_write

# Late imports in this module: matplotlib takes a third of a second, and pictures are the last files of a run.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NAME_LENGTH = 40
"""Characters of a class name; the rest is cut off."""
BLUE, ORANGE = "#0072b2", "#d55e00"
"""Of Okabe and Ito: who confuses red and green can tell them apart."""
NUMBERED = "classes are numbered from 0, in the order of the columns of predictions/*.csv."
MAX_TICKS = 30
"""Classes up to which the confusion matrix has names and counts."""


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure, in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    # Names of classes and runs may hold dollar signs, which are no formulas here.
    matplotlib.rcParams["text.parse_math"] = False
    return Figure(figsize=(width, height), layout="constrained")


def draw_learning_curve(history: Sequence[Mapping[str, Any]], metric: str, path: Path) -> None:
    """Draw the training loss, raw and smoothed, and the validation metric over the updates."""
    figure = new_figure(8, 4.5)
    axes = figure.add_subplot()
    updates = [line for line in history if "split" not in line and line["loss"] is not None]
    if updates:
        update_numbers, losses = [line["update"] for line in updates], [line["loss"] for line in updates]
        axes.plot(update_numbers, losses, color=BLUE, alpha=0.25, linewidth=0.8, label="loss")
        axes.plot(update_numbers, smooth(losses), color=BLUE, label="loss, smoothed")
    axes.set(xlabel="update", ylabel="training loss")
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    scores = [line for line in history if line.get("split") == "validation" and metric in line]
    right.plot(
        [line["update"] for line in scores],
        [line[metric] for line in scores],
        color=ORANGE,
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


def draw_confusion(predictions: Predictions, path: Path) -> None:
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
        if font is None:
            figure.supxlabel(f"No font here has all names: {NUMBERED}", fontsize=8)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", font=font, parse_math=False)
        axes.set_yticks(range(len(names)), names, font=font, parse_math=False)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if fractions[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)
    else:
        figure.supxlabel(f"Too many names: {NUMBERED}", fontsize=8)
    save(figure, path)


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG.

    Raises:
        UserError: the disk is full or the file cannot be written.
    """
    with atomic_write(path) as draft:
        figure.savefig(draft, dpi=120, format="png")


def _drawable_names(names: Sequence[str]) -> tuple[list[str], Path | None]:
    """Shortened names, and a font that has all their characters; None if no installed font does.

    Then each name that the usual font does not have becomes a number.
    """
    from matplotlib import font_manager

    short = [shorten(name, MAX_NAME_LENGTH) for name in names]
    characters = {ord(character) for name in short for character in name}
    fonts = sorted(font_manager.fontManager.ttflist, key=lambda font: font.name != "DejaVu Sans")
    for font in fonts:
        # The Last Resort font has a box for every character.
        is_plain = font.style == "normal" and font.weight == 400 and not font.name.startswith("Last Resort")
        if is_plain and characters <= _characters_of(font.fname):
            return short, Path(font.fname)
    usual = _characters_of(font_manager.findfont("DejaVu Sans"))
    drawable = [name if usual.issuperset(map(ord, name)) else f"class {number}" for number, name in enumerate(short)]
    return drawable, None


def _characters_of(font: str) -> set[int]:
    """The characters that a font has, as numbers."""
    from matplotlib import font_manager

    return set(font_manager.get_font(font).get_charmap())
