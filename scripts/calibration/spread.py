"""The prior of a score's spread over seeds: fitted to the stored studies, and how often its range holds the truth."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recipes.ablation.base_check import compare_lengths
from recipes.ablation.spread import PRIOR, RANGE, Spread, fit_spread
from recipes.reports.tables import markdown_table

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"
STUDIES = ("ablation.csv", "ablation-pairs.csv")
MARGIN = 0.01


def measure_stored_studies() -> Iterator[tuple[str, float, int]]:
    """Measure the deviation of a run after its arm and its seed, from the arms that have run with every seed.

    Yields:
        The name of the study and data set, the deviation, and its degrees of freedom.
    """
    for name in STUDIES:
        with (EVIDENCE / name).open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row["status"] == "finished"]
        columns = list(rows[0])
        factors = columns[columns.index("data") + 1 : columns.index("seed")]
        for data in dict.fromkeys(row["data"] for row in rows):
            by_arm: dict[tuple[str, ...], list[float]] = {}
            for row in rows:
                if row["data"] == data:
                    by_arm.setdefault(tuple(row[factor] for factor in factors), []).append(float(row["score"]))
            most = max(map(len, by_arm.values()))
            scores = np.array([each for each in by_arm.values() if len(each) == most])
            residuals = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
            degrees_of_freedom = (scores.shape[0] - 1) * (scores.shape[1] - 1)
            yield f"{name}, {data}", float(np.sqrt((residuals**2).sum() / degrees_of_freedom)), degrees_of_freedom


def fit_stored_studies() -> Spread:
    """Fit the prior to the stored studies."""
    _, deviations, degrees_of_freedom = zip(*measure_stored_studies(), strict=True)
    return fit_spread(deviations, degrees_of_freedom)


def describe(studies: int, processes: int) -> Iterator[str]:
    """Describe the fit, the range of the spread, and the check of the length, in lines of Markdown.

    Args:
        studies: number of simulated studies a line.
        processes: not used, since a line takes a second.
    """
    measured = [[name, f"{deviation:.4f}", str(count)] for name, deviation, count in measure_stored_studies()]
    yield markdown_table(["study", "deviation over seeds", "degrees of freedom"], measured)
    fitted = fit_stored_studies()
    yield f"Fitted: scale {fitted.deviation:.4f}, {fitted.degrees_of_freedom:.2f} degrees of freedom."
    generator = np.random.default_rng(0)
    truths = PRIOR.quantiles(generator.uniform(size=studies))
    yield markdown_table(
        [f"{RANGE:.0%} range of the spread", "holds the truth", "high / low, median"],
        [_describe_range(truths, runs, generator) for runs in (0, 2)],
    )
    worlds = [(deviation, gain) for deviation in (0.01, 0.02, 0.05) for gain in (0.0, MARGIN, 0.03, 0.06, 0.15)]
    yield markdown_table(
        ["deviation over seeds", "true gain of twice the updates", "train longer first", "cannot tell", "go on"],
        [_describe_check(deviation, gain, studies, generator) for deviation, gain in worlds],
    )


def _describe_range(truths: np.ndarray, runs: int, generator: np.random.Generator) -> list[str]:
    ends = np.array(
        [
            PRIOR.update(generator.normal(0, truth, runs).tolist()).quantiles([0.5 - RANGE / 2, 0.5 + RANGE / 2])
            for truth in truths
        ]
    )
    holds = (ends[:, 0] <= truths) & (truths <= ends[:, 1])
    name = f"after {runs} runs of the base" if runs else "the prior alone"
    return [name, _format_rate(holds), f"{np.median(ends[:, 1] / ends[:, 0]):.1f}"]


def _describe_check(deviation: float, gain: float, studies: int, generator: np.random.Generator) -> list[str]:
    comparisons = [
        compare_lengths(short.tolist(), float(longer), PRIOR, MARGIN, 1)
        for short, longer in zip(
            generator.normal(0, deviation, (studies, 2)), generator.normal(gain, deviation, studies), strict=True
        )
    ]
    stops = np.array([each.is_improving for each in comparisons])
    unclear = np.array([each.is_unclear for each in comparisons])
    return [f"{deviation}", f"{gain:+.2f}", *map(_format_rate, (stops, unclear, ~stops & ~unclear))]


def _format_rate(holds: np.ndarray) -> str:
    rate = holds.mean()
    return f"{rate:.1%} ± {np.sqrt(rate * (1 - rate) / len(holds)):.1%}"
