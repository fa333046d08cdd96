"""How often intervals over a population of data sets hold, for few data sets with unequal variances.

The ablation weights data sets equally. The usual random-effects meta-analysis weights them by their precision, with the
variance between data sets by Paule and Mandel 1982; it is here for comparison.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t

from recipes.ablation.populations import MIN_FOR_PREDICTION, estimate_population
from recipes.reports.tables import markdown_table

MEAN = 0.01
COUNTS = (3, 5, 10)
BETWEEN = (0.0, 0.01, 0.03)
"""Standard deviations of the true effect between data sets."""
OWN = {"equal": (0.01, 0.01), "1 to 6": (0.004, 0.024)}
"""Smallest and largest standard error of the effect on one data set; those between are spaced evenly by ratio."""
DEGREES_OF_FREEDOM = 30
"""Behind each standard error, which is itself estimated: 16 arms with three seeds."""
Interval = tuple[float, float]


def describe(studies: int, processes: int) -> Iterator[str]:
    """Describe coverage and width of the intervals in lines of Markdown.

    Args:
        studies: number of simulated studies a line.
        processes: not used, since a line takes seconds.
    """
    worlds = [(count, own, between) for count in COUNTS for own in OWN for between in BETWEEN]
    counted = [_simulate(count, own, between, studies) for count, own, between in worlds]
    names = [f"{count}; {own}; {between:g}" for count, own, between in worlds]
    yield "Intervals for the mean over a population of data sets"
    yield markdown_table(
        ["data sets; standard errors; tau", "equal weights", "median width", "weights by precision", "median width"],
        [
            [name, *_describe_tally(tallies["mean"]), *_describe_tally(tallies["weighted mean"])]
            for name, tallies in zip(names, counted, strict=True)
        ],
    )
    yield "Prediction intervals for one more data set"
    yield markdown_table(
        [
            "data sets; standard errors; tau",
            "measured effect",
            "true effect",
            "median width",
            "usual form, true",
        ],
        [
            [
                name,
                _describe_tally(tallies["measured"])[0],
                *_describe_tally(tallies["true"]),
                _describe_tally(tallies["usual"])[0],
            ]
            for (count, *_), name, tallies in zip(worlds, names, counted, strict=True)
            if count >= MIN_FOR_PREDICTION
        ],
    )


@dataclass
class Tally:
    """How often an interval holds, and its widths."""

    holds: list[bool]
    widths: list[float]

    def add(self, interval: Interval, truth: float) -> None:
        """Count one interval."""
        self.holds.append(interval[0] <= truth <= interval[1])
        self.widths.append(interval[1] - interval[0])


def _simulate(count: int, own: str, between: float, studies: int) -> dict[str, Tally]:
    generator = np.random.default_rng([count, list(OWN).index(own), BETWEEN.index(between)])
    deviations = np.geomspace(*OWN[own], count)
    tallies = {name: Tally([], []) for name in ("mean", "weighted mean", "measured", "true", "usual")}
    for _ in range(studies):
        effects = generator.normal(generator.normal(MEAN, between, count), deviations)
        variances = deviations**2 * generator.chisquare(DEGREES_OF_FREEDOM, count) / DEGREES_OF_FREEDOM
        population = estimate_population(effects.tolist())
        weighted_mean, usual = estimate_by_precision(effects, variances)
        tallies["mean"].add(population.interval, MEAN)
        tallies["weighted mean"].add(weighted_mean, MEAN)
        if population.prediction:
            true = generator.normal(MEAN, between)
            tallies["measured"].add(population.prediction, generator.normal(true, generator.choice(deviations)))
            tallies["true"].add(population.prediction, true)
            tallies["usual"].add(usual, true)
    return tallies


def estimate_by_precision(effects: np.ndarray, variances: np.ndarray, level: float = 0.95) -> tuple[Interval, Interval]:
    """Estimate a random-effects mean with weights by precision, and predict the true effect on a new data set.

    Returns:
        The interval of Hartung and Knapp 2001, and the prediction interval of Higgins, Thompson and Spiegelhalter 2009
        with the same variance of the mean (Partlett and Riley 2017), with k - 2 degrees of freedom.
    """
    count = len(effects)
    between = _estimate_variance_between(effects, variances)
    weights = 1 / (variances + between)
    mean = float(weights @ effects / weights.sum())
    variance = float(weights @ (effects - mean) ** 2 / (count - 1) / weights.sum())
    half = float(t.ppf(0.5 + level / 2, count - 1)) * math.sqrt(variance)
    reach = float(t.ppf(0.5 + level / 2, count - 2)) * math.sqrt(between + variance)
    return (mean - half, mean + half), (mean - reach, mean + reach)


def _estimate_variance_between(effects: np.ndarray, variances: np.ndarray) -> float:
    """Find the variance at which the weighted squared deviations sum to k - 1; 0 if they are smaller anyway."""

    def excess(between: float) -> float:
        weights = 1 / (variances + between)
        mean = weights @ effects / weights.sum()
        return float(weights @ (effects - mean) ** 2) - (len(effects) - 1)

    if excess(0) <= 0:
        return 0.0
    # At this variance all squared deviations together weigh 1 at most.
    return float(brentq(excess, 0, float(np.sum((effects - effects.mean()) ** 2))))


def _describe_tally(tally: Tally) -> Sequence[str]:
    rate = float(np.mean(tally.holds))
    return f"{rate:.2%} ± {math.sqrt(rate * (1 - rate) / len(tally.holds)):.2%}", f"{np.median(tally.widths):.4f}"
