"""The two pictures of a run folder: the learning curve and the confusion matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import matplotlib.font_manager
import numpy as np

from recipes.metrics import Predictions

LONGEST_NAME = 40
MOST_NAMES = 30


def draw_learning_curve(history: Sequence[Mapping[str, Any]], metric: str, path: Path) -> None:
    """Loss, raw and smoothed, and the validation metric over the updates."""
    figure = matplotlib.figure.Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    updates = [line for line in history if "split" not in line and line["loss"] is not None]
    if updates:
        places, losses = [line["update"] for line in updates], [line["loss"] for line in updates]
        axes.plot(places, losses, color="tab:blue", alpha=0.25, linewidth=0.8, label="loss")
        axes.plot(places, smoothed(losses), color="tab:blue", label="loss, smoothed")
    axes.set(xlabel="update", ylabel="training loss")
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    scores = [line for line in history if line.get("split") == "validation"]
    right.plot([line["update"] for line in scores], [line[metric] for line in scores], color="tab:orange", marker="o",
               label=f"validation {metric}")  # fmt: skip
    right.set_ylabel(f"validation {metric}")
    figure.legend(loc="outside upper center", ncols=3)
    figure.savefig(path, dpi=120)


def smoothed(values: Sequence[float]) -> list[float]:
    """An exponential moving average over about a fifteenth of the values, without a pull to 0 at the start."""
    rate = 1 - min(0.5, 15 / len(values))
    mean, weight, found = 0.0, 0.0, []
    for value in values:
        mean, weight = rate * mean + (1 - rate) * value, rate * weight + (1 - rate)
        found.append(mean / weight)
    return found


def confusion(predictions: Predictions) -> np.ndarray:
    """How often each label (row) is answered with each class (column); rows without a known label are left out.

    Where a row has several labels, a label that is found counts on the diagonal, and one that is missed counts against
    each class that is wrongly given in its place.
    """
    number = {name: place for place, name in enumerate(predictions.classes)}
    counts = np.zeros((len(number), len(number)), dtype=int)
    for label, chosen in zip(predictions.labels, predictions.names(), strict=True):
        asked = set(label) if isinstance(label, list) else {label}
        given = set(chosen) if isinstance(chosen, list) else {chosen}
        for true in asked & number.keys():
            for name in {true} & given or given - asked:
                counts[number[true], number[name]] += 1
    return counts


def draw_confusion(predictions: Predictions, path: Path) -> None:
    """The confusion matrix: shares of a label's row as shades, counts where they fit."""
    counts = confusion(predictions)
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    side = min(14.0, 3.5 + 0.45 * len(counts))
    figure = matplotlib.figure.Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the label's rows", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="label")
    if len(counts) <= MOST_NAMES:
        names, font = _drawable(predictions.classes)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", font=font, parse_math=False)
        axes.set_yticks(range(len(names)), names, font=font, parse_math=False)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)
    figure.savefig(path, dpi=120)


def _drawable(names: Sequence[str]) -> tuple[list[str], Path | None]:
    """Names as they can be drawn, and the font for them; their numbers where no installed font has every character."""
    short = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..." for name in names]
    needed = {ord(character) for name in short for character in name}
    fonts = sorted(matplotlib.font_manager.fontManager.ttflist, key=lambda font: font.name != "DejaVu Sans")
    for font in fonts:
        # The Last Resort font has a box for every character.
        plain = font.style == "normal" and font.weight == 400 and not font.name.startswith("Last Resort")
        if plain and needed <= matplotlib.font_manager.get_font(font.fname).get_charmap().keys():
            return short, Path(font.fname)
    return [str(place) for place in range(len(names))], None
