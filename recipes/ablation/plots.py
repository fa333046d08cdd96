"""Pictures of a study: effects with their intervals, pairs as a matrix, what each arm gives for its time."""

from typing import IO

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from recipes.ablation.findings import Findings
from recipes.ablation.verdicts import (
    FIGHTS,
    HELPS,
    HURTS,
    IDENTICAL,
    NO_EVIDENCE,
    NOTHING,
    TOGETHER,
    Verdict,
)
from recipes.reports.plots import save

PALE = 0.3
COLORS = {
    HELPS: "tab:green",
    TOGETHER: "tab:green",
    HURTS: "tab:red",
    FIGHTS: "tab:red",
    NO_EVIDENCE: "tab:gray",
    NOTHING: "tab:blue",
    IDENTICAL: "black",
}


def draw_effects(findings: Findings, to: IO[str]) -> None:
    """A line for each level: the interval that its verdict rests on, thick where the narrower one is."""
    shown = [verdict for verdict in reversed(findings.mains) if verdict.is_told]
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvspan(-findings.margin, findings.margin, color="gray", alpha=0.15, linewidth=0)
    axes.axvline(0, color="gray", linewidth=0.8)
    for place, verdict in enumerate(shown):
        color = COLORS[verdict.word]
        axes.plot(verdict.outer, (place, place), color=color, linewidth=1.2)
        axes.plot(verdict.inner, (place, place), color=color, linewidth=4, alpha=0.6)
        axes.plot(verdict.value, place, color=color, marker="o")
        axes.annotate(
            verdict.word,
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
    names = [findings.name(verdict.effect) for verdict in shown]
    axes.set_yticks(range(len(shown)), names, parse_math=False)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(f"{findings.metric}, {findings.design.estimand}; gray: the margin of ±{findings.margin:g}")
    save(figure, to)


def draw_pairs(findings: Findings, to: IO[str]) -> None:
    """What each pair does beyond its sum; a cell without a number cannot be told in this design."""
    effects = [verdict.effect for verdict in findings.mains]
    place = {effect.places[0]: number for number, effect in enumerate(effects)}
    values = np.full((len(effects), len(effects)), np.nan)
    strength = np.full(values.shape, PALE)
    told: list[tuple[int, int, Verdict]] = []
    for verdict in findings.pairs:
        row, column = sorted((place[each] for each in verdict.effect.places), reverse=True)
        if verdict.is_told:
            values[row, column] = verdict.value
            strength[row, column] = 1.0 if verdict.word in (FIGHTS, TOGETHER) else PALE
            told.append((row, column, verdict))
    side = 2.5 + 0.6 * len(effects)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    most = max(float(np.nanmax(np.abs(values))) if told else 0.0, findings.margin)
    scale = Normalize(-most, most)
    axes.imshow(values, cmap="RdYlGn", norm=scale, alpha=strength)
    figure.colorbar(
        ScalarMappable(scale, "RdYlGn"),
        ax=axes,
        label=f"{findings.metric} beyond the sum; pale: not clear of 0",
        shrink=0.7,
    )
    for row, column, verdict in told:
        clear = strength[row, column] == 1
        axes.text(
            column,
            row,
            f"{verdict.value:+.3f}",
            ha="center",
            va="center",
            fontsize=7,
            fontweight="bold" if clear else "normal",
            color="white" if clear and abs(verdict.value) > 0.7 * most else "black",
        )
    names = [findings.name(effect) for effect in effects]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    save(figure, to)


def draw_costs(findings: Findings, to: IO[str]) -> None:
    """Each arm's mean score against its mean time; the line joins those that nothing beats for their time."""
    means = findings.means()
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    scores, seconds = zip(*means.values(), strict=True)
    axes.scatter(seconds, scores, color="tab:gray", s=18)
    front = findings.front()
    axes.plot([means[arm][1] for arm in front], [means[arm][0] for arm in front], color="tab:green", marker="o")
    for arm in front:
        axes.annotate(
            _short(findings.space.name(arm)),
            (means[arm][1], means[arm][0]),
            xytext=(4, -10),
            fontsize=7,
            textcoords="offset points",
            parse_math=False,
        )
    axes.set(xlabel="seconds of training", ylabel=f"validation {findings.metric}, mean of the seeds")
    save(figure, to)


def _short(name: str) -> str:
    return name if len(name) <= 48 else f"{name[:45]}..."
