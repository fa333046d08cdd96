"""Charts of a study: effects with their intervals, by length of training too, and each arm's score against its time."""

from collections.abc import Sequence

from recipes.ablation.findings import Findings
from recipes.ablation.verdicts import (
    ADDS_UP,
    FIGHTS,
    HELPS,
    HURTS,
    IDENTICAL,
    NO_EVIDENCE,
    NOTHING,
    TOGETHER,
    Verdict,
)
from recipes.reports.charts import Estimate, Intervals, Plot, Series, fit_axis

STYLES = {
    HELPS: 2,
    TOGETHER: 2,
    HURTS: 4,
    FIGHTS: 4,
    NOTHING: 1,
    IDENTICAL: 0,
    NO_EVIDENCE: 5,
}
"""The colour and the shape of each verdict."""
MAX_PAIRS = 12
"""Pairs of a chart; the table has all."""
MAX_LENGTHS = 6
"""Effects of a plot by length: each has its own colour and shape."""


def chart_effects(findings: Findings) -> Intervals:
    """A line for each main effect: its interval, and the margin within which an effect does not matter."""
    words = (HELPS, HURTS, NOTHING, IDENTICAL, NO_EVIDENCE)
    verdicts = [verdict for verdict in findings.mains if verdict.has_estimate]
    return _chart_verdicts(findings, f"Effects on {findings.metric}", verdicts, words, findings.design.estimand)


def chart_pairs(findings: Findings) -> Intervals:
    """A line for each pair that does not add up, the largest effects beyond the sum of the two first."""
    words = (TOGETHER, FIGHTS, NO_EVIDENCE)
    estimated = [verdict for verdict in findings.pairs if verdict.has_estimate and verdict.word != ADDS_UP]
    verdicts = sorted(estimated, key=lambda verdict: -abs(verdict.value))
    return _chart_verdicts(
        findings, f"Pairs: {findings.metric} beyond the sum", verdicts[:MAX_PAIRS], words, "beyond the sum of the two"
    )


def _chart_verdicts(
    findings: Findings, title: str, verdicts: Sequence[Verdict], words: Sequence[str], estimand: str
) -> Intervals:
    margin = findings.margin
    ends = [end for verdict in verdicts for end in verdict.interval]
    return Intervals(
        title,
        fit_axis(f"{findings.metric}, {estimand}", [*ends, -margin, margin]),
        [
            Estimate(
                findings.name(verdict.effect),
                verdict.value,
                verdict.interval,
                f"{verdict.value:+z.4f}",
                STYLES[verdict.word],
            )
            for verdict in verdicts
        ],
        f"Lines are the intervals; the grey band is the margin of ±{margin:g}.",
        (-margin, margin),
        [(STYLES[word], word) for word in words],
    )


def plot_lengths(findings: Findings) -> list[Plot]:
    """Each main effect against the length of training, with its interval."""
    verdicts = [verdict for verdict in findings.mains if verdict.has_estimate]
    lengths = list(findings.by_length)
    # Effects are moved apart a little, so that their intervals do not cover each other.
    step = 0.02 * (lengths[-1] - lengths[0])
    groups = [verdicts[first : first + MAX_LENGTHS] for first in range(0, len(verdicts), MAX_LENGTHS)]
    plots = []
    for group in groups:
        series = []
        for style, verdict in enumerate(group):
            estimates = [
                (length + (style - (len(group) - 1) / 2) * step, own)
                for length, each in findings.by_length.items()
                for own in each.mains
                if own.effect == verdict.effect and own.has_estimate
            ]
            points, intervals = [(x, own.value) for x, own in estimates], [own.interval for _, own in estimates]
            series.append(Series(findings.name(verdict.effect), points, style, intervals=intervals))
        ends = [end for each in series for interval in each.intervals for end in interval]
        xs = [x for each in series for x, _ in each.points]
        plots.append(
            Plot(
                "Effects by length of training",
                fit_axis("multiple of the updates", [*lengths, *xs]),
                fit_axis(f"{findings.metric}, {findings.design.estimand}", [*ends, 0.0]),
                series,
                f"Lines are the intervals; the grey band is the margin of ±{findings.margin:g}.",
                (-findings.margin, findings.margin),
            )
        )
    return plots


def plot_costs(findings: Findings) -> Plot:
    """Each arm's mean score against its mean time; the line joins the arms that no other arm beats."""
    means, front = findings.means(), findings.pareto_front()
    points = {arm: (seconds, score) for arm, (score, seconds) in means.items()}
    return Plot(
        "Score and time of each arm",
        fit_axis("seconds of training", [seconds for seconds, _ in points.values()]),
        fit_axis(f"validation {findings.metric}", [score for _, score in points.values()]),
        [
            Series("an arm, mean over its seeds", list(points.values()), 5, "marks"),
            Series("no other arm is better in less time", [points[arm] for arm in front], 0),
        ],
    )
