"""From the data sets of a study to data sets like these: an interval for their mean, and a prediction for a new one.

The verdicts of a study are on the data sets that it has: their intervals include the variance over seeds and over rows,
and no more. Whoever asks what a trick does on data sets *like these* must add how much its effect differs between data
sets, which few of them show. Both intervals here take that from the effects themselves.

- The mean has the interval of Hartung and Knapp 2001 (Statistics in Medicine 20(24)): with weights w its variance is
  sum w (effect - mean)^2 / ((k - 1) sum w), with k - 1 degrees of freedom. The weights are equal, as in the verdicts.
- The prediction interval is for the effect that such a study would measure on one more data set: Student's interval
  for a further observation, mean +- t * s * sqrt(1 + 1 / k), with k - 1 degrees of freedom.

Weights by precision would be shorter where they are right, but they are estimated. In simulations with unequal
variances the weighted interval held in as few as 89 %, and the usual prediction interval of meta-analysis (Higgins,
Thompson and Spiegelhalter 2009) in 87 %. With equal weights the interval is that of a t test, which unequal variances
make only more careful (Bakirov and Székely 2006, Journal of Mathematical Sciences 139(3)).
`scripts/calibrate.py datasets` counts them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

MIN_FOR_PREDICTION = 5
"""With fewer data sets a prediction interval is too wide to say anything."""


@dataclass(frozen=True)
class Population:
    """The effect of a trick over a population of data sets."""

    mean: float
    interval: tuple[float, float]
    """Of the mean."""
    prediction: tuple[float, float] | None
    """Of the effect on one more data set; None with fewer than five."""


def estimate_population(effects: Sequence[float], level: float = 0.95) -> Population:
    """Estimate an effect over a population of data sets.

    Args:
        effects: the effect on each data set, two or more.
        level: the confidence level of both intervals.
    """
    count, mean = len(effects), float(np.mean(effects))
    reach = float(t.ppf(0.5 + level / 2, count - 1)) * float(np.std(effects, ddof=1))
    half, prediction = reach / math.sqrt(count), reach * math.sqrt(1 + 1 / count)
    return Population(
        mean=mean,
        interval=(mean - half, mean + half),
        prediction=(mean - prediction, mean + prediction) if count >= MIN_FOR_PREDICTION else None,
    )
