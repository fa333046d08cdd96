"""Pictures of runs: the learning curve, the confusion matrix, reliability."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import matplotlib
import matplotlib.figure
import matplotlib.font_manager
import numpy as np

from recipes.metrics import BINS, Predictions, confidences

LONGEST_NAME = 40
MOST_NAMES = 30


def draw_learning_curve(history: Sequence[Mapping[str, Any]], metric: str, path: Path | IO[str]) -> None:
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


def draw_confusion(predictions: Predictions, path: Path | IO[str]) -> None:
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
    save(figure, path)


def draw_reliability(predictions: Predictions, path: Path | IO[str]) -> None:
    """How often answers are right against how sure they are, in bins; the diagonal is a model that is as it says."""
    confidence, right = confidences(predictions)
    figure = matplotlib.figure.Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="gray", linestyle="--", linewidth=0.8)
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    held = counts > 0
    means = np.bincount(places, right, BINS)[held] / counts[held]
    axes.bar((np.arange(BINS)[held] + 0.5) / BINS, means, width=0.9 / BINS, color="tab:blue", alpha=0.7)
    for place, mean, count in zip(np.flatnonzero(held), means, counts[held], strict=True):
        axes.text((place + 0.5) / BINS, mean + 0.01, str(count), ha="center", fontsize=7)
    axes.set(xlabel="probability of the answer", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.06))
    save(figure, path)


def draw_scores(histories: Mapping[str, Sequence[Mapping[str, Any]]], metric: str, path: Path | IO[str]) -> None:
    """The validation metric of several runs over the updates."""
    figure = matplotlib.figure.Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, history in histories.items():
        scores = [line for line in history if line.get("split") == "validation" and metric in line]
        axes.plot([line["update"] for line in scores], [line[metric] for line in scores], marker="o", label=name)
    axes.set(xlabel="update", ylabel=f"validation {metric}")
    figure.legend(loc="outside upper center", ncols=1)
    save(figure, path)


def save(figure: matplotlib.figure.Figure, path: Path | IO[str]) -> None:
    """Write a picture: as PNG into a file, or as SVG, whose words stay words, into a text stream."""
    if isinstance(path, Path):
        figure.savefig(path, dpi=120)
    else:
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "trickbook"}):
            figure.savefig(path, format="svg", metadata={"Date": None})


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
