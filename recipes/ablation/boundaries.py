"""The joint law of repeated looks at one study, and critical values that hold over all looks and all effects at once.

At each look an effect is estimated from all runs so far. Its variance has two parts. The run part is proportional to
1 / seeds. The row part is the same at every look, since all looks share the validation rows. Two looks have the
covariance that is the variance of the later one, because an estimate with more runs is the best linear one. So looks
are correlated, the more so the larger the row part is. Bonferroni over looks ignores this.

- The information of a look is the variance at the last look, divided by the variance at this look.
- The error is spent as a power of the information (Lan and DeMets 1983, Kim and DeMets 1987). Variances are known
  better at each look. So a look spends a fraction of what is left: never nothing, and never more than all.
- Critical values come from draws of the joint law of t statistics (max-t over effects and looks). The estimated run
  variance has few degrees of freedom after few seeds, and the looks share its squares. Normal theory would be wrong.
  The draws are the same every time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from recipes.ablation.effects import Estimates, root_of_correlation

DRAWS = 20_000
ALPHA = 0.05
"""How often any interval at any look may leave out its truth."""
SPENDING_POWER = 4.0
"""The larger, the later the error is spent; 1 is in proportion to the information."""
LARGEST_MULTIPLIER = 8.0
BISECTIONS = 16


@dataclass(frozen=True)
class JointLaw:
    """The law of one family of effects at all looks, as the runs up to one look show it."""

    run_variance: np.ndarray
    """(analysis, effect)."""
    row_variance: np.ndarray
    """(effect)."""
    run_degrees_of_freedom: np.ndarray
    """(analysis)."""
    information: np.ndarray
    """The fraction of the last look's information that each look has, (analysis)."""
    deviations: np.ndarray
    """Draws of the estimates' errors, (analysis, effect, draw)."""
    scales: np.ndarray
    """Draws of the estimated run variance, relative to the true one, (analysis, draw)."""

    def squared_half_widths(self, analysis: int, multiplier: float, scale: np.ndarray | float = 1.0) -> np.ndarray:
        """Compute the squared half width of each effect's interval at a look, (effect, draw).

        Args:
            analysis: its index.
            multiplier: the critical value, as of a normal distribution.
            scale: what the run variances are multiplied by, (draw).
        """
        run_critical_value = stdtrit(self.run_degrees_of_freedom[analysis], ndtr(multiplier))
        run = run_critical_value**2 * self.run_variance[analysis]
        # The row variance counts as known: it has as many degrees of freedom as there are rows.
        row = multiplier**2 * self.row_variance
        return np.asarray(run[:, None] * scale + row[:, None])

    def find_outside(self, analysis: int, multiplier: float, draws: np.ndarray) -> np.ndarray:
        """Find the draws in which the interval of any effect leaves out its truth at a look.

        Args:
            analysis: the index of the look.
            multiplier: the critical value, as of a normal distribution.
            draws: the indices of the draws to look at.

        Returns:
            The indices of those.
        """
        squared_half = self.squared_half_widths(analysis, multiplier, self.scales[analysis, draws])
        return np.asarray(draws[(self.deviations[analysis][:, draws] ** 2 > squared_half).any(0)])

    def chances(self, analysis: int, values: np.ndarray, last: float, scale: np.ndarray | float = 1.0) -> np.ndarray:
        """Compute how likely each effect is shown to be positive at the last look, given its value at this one.

        It is the predictive power with a flat prior: further runs move an estimate by the root of the difference of the
        variances of the two looks, times a deviate with the degrees of freedom of this look.

        Args:
            analysis: the index of this look.
            values: of the effects, (effect, draw).
            last: the multiplier of the last look.
            scale: what the run variances are multiplied by, (draw).
        """
        half = np.sqrt(self.squared_half_widths(len(self.run_variance) - 1, last, scale))
        move = np.sqrt((self.run_variance[analysis] - self.run_variance[-1])[:, None] * scale)
        # Without a move the chance is 0 or 1.
        return np.asarray(stdtr(self.run_degrees_of_freedom[analysis], (values - half) / np.maximum(move, 1e-12)))


def draw_joint_law(family: Estimates, seeds: np.ndarray, analysis: int) -> JointLaw:
    """Draw from the joint law of the estimates of a family at all looks.

    Args:
        family: the estimates at one look.
        seeds: the number of seeds behind each effect at each look, past and future, (analysis, effect).
        analysis: the index of that look.
    """
    analyses, effects = seeds.shape
    run_variance = family.run_variance * seeds[analysis] / seeds
    # Degrees of freedom are nearly proportional to the seeds less one.
    growth = np.maximum(seeds.mean(1) - 1, 1)
    degrees_of_freedom = family.run_degrees_of_freedom.min() * growth / growth[analysis]

    # The error is spent for the effects that further seeds still tell more about.
    variance = run_variance + family.row_variance
    gains = variance[-1] < variance[analysis]
    information = (variance[-1, gains] / variance[:, gains]).mean(1) if gains.any() else np.ones(analyses)

    # Going back from the last look, each look adds an independent part.
    normals = _draw_normals(analyses + 1, effects)
    steps = np.sqrt(np.maximum(run_variance - np.vstack([run_variance[1:], np.zeros(effects)]), 0))
    run_parts = root_of_correlation(family.run_covariance) @ normals[:-1]
    deviations = np.cumsum((steps[:, :, None] * run_parts)[::-1], axis=0)[::-1]
    row_part = root_of_correlation(family.row_covariance) @ normals[-1]
    deviations = deviations + np.sqrt(family.row_variance)[:, None] * row_part

    # A variance with more degrees of freedom adds squares to those that it had.
    generator = np.random.default_rng(1)
    added = np.diff(degrees_of_freedom, prepend=0)
    squares = np.cumsum([generator.chisquare(each, DRAWS) for each in added], axis=0)
    return JointLaw(
        run_variance=run_variance,
        row_variance=family.row_variance,
        run_degrees_of_freedom=degrees_of_freedom,
        information=information,
        deviations=deviations,
        scales=squares / degrees_of_freedom[:, None],
    )


@dataclass(frozen=True)
class Boundary:
    """The critical value of one look."""

    multiplier: float
    """As of a normal distribution."""
    spent: float
    """The part of the error that this look spends."""


def find_boundaries(law: JointLaw, past: Sequence[Boundary] = ()) -> list[Boundary]:
    """Find the boundaries of all looks, which together have the error `ALPHA`.

    Args:
        law: the joint law of the looks.
        past: the boundaries that earlier looks have used; they are returned unchanged.
    """
    is_inside = np.ones(DRAWS, dtype=bool)
    for analysis, boundary in enumerate(past):
        is_inside[law.find_outside(analysis, boundary.multiplier, np.flatnonzero(is_inside))] = False
    spending = law.information**SPENDING_POWER
    boundaries = list(past)
    for analysis in range(len(past), len(spending)):
        left = ALPHA - sum(boundary.spent for boundary in boundaries)
        before = spending[analysis - 1] if analysis else 0.0
        # With all the information there is nothing to wait for.
        is_complete = spending[analysis] > 1 - 1e-9
        spent = left if is_complete else left * (spending[analysis] - before) / (1 - before)
        # A larger multiplier has fewer draws outside, and all of them are among those of a smaller one.
        low, high, candidates = 0.0, LARGEST_MULTIPLIER, np.flatnonzero(is_inside)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            outside = law.find_outside(analysis, middle, candidates)
            if len(outside) > spent * DRAWS:
                low, candidates = middle, outside
            else:
                high = middle
        boundaries.append(Boundary(high, float(spent)))
        is_inside[law.find_outside(analysis, high, candidates)] = False
    return boundaries


@lru_cache
def _draw_normals(analyses: int, effects: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((analyses, effects, DRAWS))
