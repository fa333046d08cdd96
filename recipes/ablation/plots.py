"""Pictures of a study: effects with their intervals, pairs as a matrix, each arm's score against its time."""

from typing import IO

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

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
from recipes.reports.plots import new_figure, save

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
    """Draw a line for each main effect: its interval, and in bold the narrower equivalence interval."""
    verdicts = [verdict for verdict in reversed(findings.mains) if verdict.has_estimate]
    figure = new_figure(8, 1.2 + 0.4 * len(verdicts))
    axes = figure.add_subplot()
    axes.axvspan(-findings.margin, findings.margin, color="gray", alpha=0.15, linewidth=0)
    axes.axvline(0, color="gray", linewidth=0.8)
    for height, verdict in enumerate(verdicts):
        color = COLORS[verdict.word]
        axes.plot(verdict.interval, (height, height), color=color, linewidth=1.2)
        axes.plot(verdict.equivalence_interval, (height, height), color=color, linewidth=4, alpha=0.6)
        axes.plot(verdict.value, height, color=color, marker="o")
        axes.annotate(
            verdict.word,
            (1.01, height),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
    names = [_shorten(findings.name(verdict.effect)) for verdict in verdicts]
    axes.set_yticks(range(len(verdicts)), names, parse_math=False)
    axes.set_ylim(-0.6, len(verdicts) - 0.4)
    axes.set_xlabel(f"{findings.metric}, {findings.design.estimand}; gray: the margin of ±{findings.margin:g}")
    save(figure, to)


def draw_lengths(findings: Findings, to: IO[str]) -> None:
    """Draw each main effect against the length of training, with its interval."""
    verdicts = [verdict for verdict in findings.mains if verdict.has_estimate]
    figure = new_figure(8, 4.5)
    axes = figure.add_subplot()
    axes.axhspan(-findings.margin, findings.margin, color="gray", alpha=0.15, linewidth=0)
    axes.axhline(0, color="gray", linewidth=0.8)
    lengths = list(findings.by_length)
    # Effects are moved apart a little, so that their intervals do not cover each other.
    step = 0.02 * (lengths[-1] - lengths[0])
    for number, verdict in enumerate(verdicts):
        points = [
            (length + (number - (len(verdicts) - 1) / 2) * step, own)
            for length, each in findings.by_length.items()
            for own in each.mains
            if own.effect == verdict.effect and own.has_estimate
        ]
        positions, values = [position for position, _ in points], [own.value for _, own in points]
        reach = [[abs(own.value - own.interval[end]) for _, own in points] for end in (0, 1)]
        label = _shorten(findings.name(verdict.effect)).replace("$", r"\$")
        axes.errorbar(positions, values, reach, marker="o", capsize=3, label=label)
    axes.set_xticks(lengths, [f"{length:g}" for length in lengths])
    axes.set(xlabel="multiple of the updates", ylabel=f"{findings.metric}, {findings.design.estimand}")
    if verdicts:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    save(figure, to)


def draw_pairs(findings: Findings, to: IO[str]) -> None:
    """Draw a matrix of each pair's effect beyond its sum; a cell without a number has no estimate in this design."""
    effects = [verdict.effect for verdict in findings.mains]
    index = {effect.terms[0]: number for number, effect in enumerate(effects)}
    values = np.full((len(effects), len(effects)), np.nan)
    opacity = np.full(values.shape, PALE)
    cells: list[tuple[int, int, Verdict]] = []
    for verdict in findings.pairs:
        # Only the lower triangle.
        row, column = sorted((index[term] for term in verdict.effect.terms), reverse=True)
        if verdict.has_estimate:
            values[row, column] = verdict.value
            opacity[row, column] = 1.0 if verdict.word in (FIGHTS, TOGETHER) else PALE
            cells.append((row, column, verdict))
    side = 2.5 + 0.6 * len(effects)
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    most = max(float(np.nanmax(np.abs(values))) if cells else 0.0, findings.margin)
    scale = Normalize(-most, most)
    axes.imshow(values, cmap="RdYlGn", norm=scale, alpha=opacity)
    figure.colorbar(
        ScalarMappable(scale, "RdYlGn"),
        ax=axes,
        label=f"{findings.metric} beyond the sum; pale: the interval includes 0",
        shrink=0.7,
    )
    for row, column, verdict in cells:
        is_clear = opacity[row, column] == 1
        axes.text(
            column,
            row,
            f"{verdict.value:+.3f}",
            ha="center",
            va="center",
            fontsize=7,
            fontweight="bold" if is_clear else "normal",
            color="white" if is_clear and abs(verdict.value) > 0.7 * most else "black",
        )
    names = [_shorten(findings.name(effect)) for effect in effects]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    save(figure, to)


def draw_costs(findings: Findings, to: IO[str]) -> None:
    """Draw each arm's mean score against its mean time; the line is the Pareto front."""
    means = findings.means()
    figure = new_figure(8, 4.5)
    axes = figure.add_subplot()
    scores, seconds = zip(*means.values(), strict=True)
    axes.scatter(seconds, scores, color="tab:gray", s=18)
    pareto_front = findings.pareto_front()
    axes.plot(
        [means[arm][1] for arm in pareto_front], [means[arm][0] for arm in pareto_front], color="tab:green", marker="o"
    )
    for arm in pareto_front:
        axes.annotate(
            _shorten(findings.space.name_arm(arm)),
            (means[arm][1], means[arm][0]),
            xytext=(4, -10),
            fontsize=7,
            textcoords="offset points",
            parse_math=False,
        )
    axes.set(xlabel="seconds of training", ylabel=f"validation {findings.metric}, mean over the seeds")
    save(figure, to)


def _shorten(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= 48 else f"{line[:45]}..."
