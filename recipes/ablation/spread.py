"""How much another seed moves a score: a prior from the project's stored studies, sharpened by runs of the base.

The variance of a score over seeds has a scaled inverse chi-square distribution, which is conjugate to normal scores
(Gelman and others 2013, Bayesian Data Analysis, 2.6). Its scale and degrees of freedom are fitted to the variances of
the stored studies as Smyth 2004 does for genes (Statistical Applications in Genetics and Molecular Biology 3(1)): if
the true variances vary like this, the estimated ones follow a scaled F distribution, whose moments of the logarithm are
known. `scripts/calibrate.py spread` makes the fit again from `docs/evidence`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import chi2

RANGE = 0.8
"""The probability of the ranges that are derived from a spread."""


@dataclass(frozen=True)
class Spread:
    """What is known of the standard deviation of a score over seeds."""

    deviation: float
    """The root of the distribution's scale."""
    degrees_of_freedom: float

    def update(self, scores: Sequence[float]) -> "Spread":
        """Add what runs of one arm with different seeds show."""
        if len(scores) < 2:
            return self
        degrees_of_freedom = self.degrees_of_freedom + len(scores) - 1
        squares = self.degrees_of_freedom * self.deviation**2 + float(np.var(scores)) * len(scores)
        return Spread(math.sqrt(squares / degrees_of_freedom), degrees_of_freedom)

    def quantiles(self, probabilities: Sequence[float] | np.ndarray) -> np.ndarray:
        """Compute quantiles of the standard deviation."""
        smallest = chi2.ppf(1 - np.asarray(probabilities), self.degrees_of_freedom)
        return np.asarray(self.deviation * np.sqrt(self.degrees_of_freedom / smallest))


PRIOR = Spread(0.018, 1.6)
"""Of accuracy: fitted to the four data sets of the two studies in `docs/evidence/ablation.md`."""


def fit_spread(deviations: Sequence[float], degrees_of_freedom: Sequence[float]) -> Spread:
    """Fit a spread to estimated standard deviations, by the moments of their logarithm.

    Args:
        deviations: of each study, two or more that differ by more than chance.
        degrees_of_freedom: of each of them.
    """
    halves = np.asarray(degrees_of_freedom) / 2
    logarithms = 2 * np.log(deviations) - digamma(halves) + np.log(halves)
    # The variance of the logarithms is that of the estimates and that of the true variances.
    excess = float(logarithms.var(ddof=1) - polygamma(1, halves).mean())
    half = brentq(lambda value: float(polygamma(1, value)) - excess, 1e-3, 1e6)
    scale = math.exp(float(logarithms.mean() + digamma(half) - np.log(half)))
    return Spread(math.sqrt(scale), 2 * half)
