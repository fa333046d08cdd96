"""Effects, their intervals, and intervals that hold for many effects at once.

A score varies for two reasons. Another seed gives another score on the same rows: *run variance*. Other rows of the
same kind give another score of the same run: *row variance*. An effect is a weighted sum of runs. Its interval must
carry both variances, or the claim holds for these very rows only.

Runs and rows are crossed, so the two overlap: the variance of an effect over rows includes the effect of seeds on
single rows, which the variance over seeds includes as well. With weights w of the runs and n rows,

    run       mean square of the scores, after arms and seeds are removed
    rows      variance over rows of the weighted sum of the runs' rows
    residual  mean square of the runs' rows, after arms, seeds and the run variance are removed

an effect on one data set has the run variance w'w * run and the row variance (rows - w'w * residual) / n.

Where folds rotate (`hydra.sweeper.rotate`), seed s trains without fold s mod K and is scored on it. Rows are nested in
folds and crossed with the arms. The effect is a sum of independent sums over folds, each with its own rows, so that

    rows      sum over folds f of the variance over its rows of the weighted sum of its runs' rows, divided by n_f
    residual  the same of the residuals: what rows have contributed to the mean square `run`

and the variance is w'w * run + rows - w'w * residual. One fold for all seeds is the case above. If there are more seeds
than folds, seeds s and s + K have their rows in common: a row counts once, with the weights of both. The target is the
effect over training samples of this size. Training sets that share rows make scores correlate, by 1/K for folds of 1/K
of the rows (Nadeau and Bengio 2003). This adds V / (K - 1), where V is the variance of the effect with one seed: S
times the run variance plus F times the rest, for S seeds on F folds. More seeds do not reduce it.

- Runs of one seed that predict the same, since a trick had no effect there, count as one run.
- Data sets are averaged with equal weights. Data sets that share validation rows are added up row by row before their
  row variance is computed.
- The squared half width of an interval is t^2 * run variance + t^2 * row variance. Each variance has the critical value
  of its own degrees of freedom (over data sets by Satterthwaite 1946). With one critical value for both, intervals
  held in only 88 to 93 % of simulated studies with few seeds.
- Simultaneous intervals hold for all effects of a family at once in 95 % of the studies. They are wider by a factor
  from the correlations between the effects (max-t).

`scripts/calibrate.py` counts how often the intervals hold.

Assumptions: seeds move all arms alike, and rows are independent. An average over many arms is robust to the first, the
difference of two arms with very unequal noise is not. Pieces of one document violate the second.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import norm, t

from recipes.ablation.design import Design, Effect, design_matrix
from recipes.errors import UserError

NORMAL_DRAWS = 20_000


@dataclass(frozen=True)
class Block:
    """All runs on one data set."""

    name: str
    arms: np.ndarray
    """Each run's arm, as its index in the design, (run)."""
    seeds: np.ndarray
    """Each run's seed, (run)."""
    rows: np.ndarray
    """What each validation row contributes to each run's score, (run, row); the score is their mean. NaN where the run
    is scored on another fold."""
    fingerprints: Sequence[str]
    """A hash of each run's predictions; equal for equal predictions, (run)."""
    validation: str | None = None
    """A hash of the validation rows; equal for data sets that share them. None if no other data set does."""
    folds: np.ndarray | None = None
    """The number of the fold that each run is scored on, (run); None: all on the same rows."""
    fold_count: int = 1
    """Number of folds of the partition, K."""

    @property
    def scores(self) -> np.ndarray:
        """Each run's score, (run)."""
        return np.asarray(np.nanmean(self.rows, axis=1))


@dataclass(frozen=True)
class Estimates:
    """The estimated effects of one family and their variances; arrays are (effect) unless noted."""

    effects: Sequence[Effect]
    values: np.ndarray
    run_covariance: np.ndarray
    """Shrinks with more seeds, (effect, effect)."""
    row_covariance: np.ndarray
    """Shrinks with more labelled rows, (effect, effect)."""
    run_degrees_of_freedom: np.ndarray
    row_degrees_of_freedom: float
    by_block: Mapping[str, np.ndarray]
    """The values on each data set."""

    @property
    def run_variance(self) -> np.ndarray:
        """Variance over seeds, (effect)."""
        return np.diag(self.run_covariance)

    @property
    def row_variance(self) -> np.ndarray:
        """Variance over rows, (effect)."""
        return np.diag(self.row_covariance)

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Compute the low and high ends of each effect's own confidence interval."""
        run_critical_value = t.ppf(0.5 + level / 2, self.run_degrees_of_freedom)
        row_critical_value = t.ppf(0.5 + level / 2, self.row_degrees_of_freedom)
        half = np.sqrt(run_critical_value**2 * self.run_variance + row_critical_value**2 * self.row_variance)
        return self.values - half, self.values + half

    def simultaneous_intervals(self, *levels: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Compute, for each level, the low and high ends of intervals that hold for all effects at once."""
        multipliers = compute_max_t_multipliers(self.run_covariance + self.row_covariance, levels)
        return [self.interval(float(2 * norm.cdf(multiplier) - 1)) for multiplier in multipliers]


def restrict_to_finished(design: Design, blocks: Sequence[Block]) -> Design:
    """Return the design with only the arms that have a run on every data set.

    Raises:
        UserError: there is no such arm, or no run has finished.
    """
    common = set.intersection(*(set(block.arms.tolist()) for block in blocks)) if blocks else set()
    if not common:
        which = "arm has a finished run on every data set" if blocks else "run of the study has finished"
        raise UserError(f"no {which}; runs.csv has the reasons.")
    return design.restrict_to(design.arms[arm] for arm in common)


def estimate(
    design: Design, blocks: Sequence[Block], identical: Collection[Effect] = ()
) -> tuple[Estimates, Estimates]:
    """Estimate the main effects, and the pairs that the arms can tell.

    Arms without a run on some data set are left out on all of them. The other runs of its arm and seed stand in for a
    single missing run.

    Args:
        design: the arms.
        blocks: the runs, a block for each data set.
        identical: main effects that are known to be 0. They and their pairs are left out.

    Returns:
        The family of main effects and the family of pairs.

    Raises:
        UserError: the runs leave no degrees of freedom for the noise.
    """
    finished = restrict_to_finished(design, blocks)
    contrasts = {
        effect: weights
        for effect, weights in finished.contrasts().items()
        if not any(Effect((term,)) in identical for term in effect.terms)
    }
    noise = [_measure_noise(block, design, finished) for block in blocks] if contrasts else []
    if noise and not any(each.has_noise for each in noise):
        raise UserError("every run of a seed predicts the same, so there is nothing to measure chance by.")
    families = []
    for size in (1, 2):
        effects = [effect for effect in contrasts if len(effect.terms) == size]
        weights = np.array([contrasts[effect] for effect in effects]).reshape(len(effects), len(finished.arms))
        families.append(_estimate_family(effects, weights, noise))
    return families[0], families[1]


def estimate_by_data(
    design: Design, blocks: Sequence[Block], identical: Collection[Effect] = ()
) -> dict[str, dict[Effect, float]]:
    """Estimate the main effects on each data set, except those that are known to be 0."""
    mains, _ = estimate(design, blocks, identical)
    return {name: dict(zip(mains.effects, values.tolist(), strict=True)) for name, values in mains.by_block.items()}


def measure_spreads(design: Design, blocks: Sequence[Block]) -> dict[str, float]:
    """Measure the standard deviation of a run's score over seeds, on each data set where the arms differ at all."""
    finished = restrict_to_finished(design, blocks)
    noise = [_measure_noise(block, design, finished) for block in blocks]
    return {each.name: float(np.sqrt(each.run_variance)) for each in noise if each.has_noise}


@dataclass(frozen=True)
class _Noise:
    """The runs on one data set and the variances of their noise."""

    name: str
    validation: str
    scores: np.ndarray
    """(run)."""
    deviations: np.ndarray
    """Of rows from their mean, so that the sum of squares is the variance of a run's score over rows, (run, row)."""
    arm_estimator: np.ndarray
    """The least-squares estimates of the arms from the runs, next to the seeds, (arm, run)."""
    membership: np.ndarray
    """1 where a run is one of the runs that predict the same, (run, distinct run)."""
    run_variance: float
    """Of a single run, over seeds."""
    residual_variance: float
    """What rows contribute to `run_variance`."""
    degrees_of_freedom: float
    """Of `run_variance`; 0 if all arms predict the same."""
    row_degrees_of_freedom: float
    seed_count: int
    fold_count: int
    overlap: float
    """1 / (K - 1), or 0 for a study on one split."""

    @property
    def has_noise(self) -> bool:
        """False if no arm changes anything on this data set."""
        return self.degrees_of_freedom > 0

    def sum_squared_weights(self, weights: np.ndarray) -> np.ndarray:
        """Compute w'w over distinct runs: the factor of a single run's variance in each effect, (effect, effect)."""
        run_weights = weights @ self.arm_estimator @ self.membership
        return np.asarray(run_weights @ run_weights.T)

    def row_deviations(self, weights: np.ndarray) -> np.ndarray:
        """Compute how rows deviate in each effect; the sum of squares is its variance over rows, (effect, row)."""
        return np.asarray(weights @ self.arm_estimator @ self.deviations)


def _measure_noise(block: Block, design: Design, finished: Design) -> _Noise:
    """Fit arms and seeds to the runs, and measure the noise by the mean square of the residuals.

    With a single seed, arms and seeds leave no residual. The residual of the effects is used instead.

    Args:
        block: the runs on one data set.
        design: the design that `block.arms` are indices of.
        finished: the design with only the arms that have a run on every data set.
    """
    index = {arm: number for number, arm in enumerate(finished.arms)}
    arm_of_run = np.array([index.get(design.arms[arm], -1) for arm in block.arms.tolist()])
    runs = np.flatnonzero(arm_of_run >= 0)
    arms, seeds, scores = arm_of_run[runs], block.seeds[runs], block.scores[runs]
    fingerprints = [block.fingerprints[run] for run in runs.tolist()]
    validation = block.validation or block.name
    deviations = _measure_deviations(block.rows[runs])
    if _are_all_arms_identical(arms, seeds, fingerprints, len(finished.arms)):
        # An estimator of zeros makes every effect exactly 0.
        no_effect, each_its_own = np.zeros((len(finished.arms), len(runs))), np.eye(len(runs))
        return _Noise(
            block.name, validation, scores, deviations, no_effect, each_its_own, 0.0, 0.0, 0.0, 0.0, 0, 0, 0.0
        )

    # The model: an indicator of each arm, and centered indicators of the seeds.
    arm_indicators = (arms[:, None] == np.arange(len(finished.arms))).astype(float)
    seed_indicators = (seeds[:, None] == np.unique(seeds)).astype(float)
    model = np.column_stack([arm_indicators, seed_indicators - seed_indicators.mean(0)])
    residual_projection = _residual_projection(model)
    if np.trace(residual_projection) < 0.5:
        arms_of_runs = [finished.arms[arm] for arm in arms.tolist()]
        columns = design_matrix(arms_of_runs, finished.levels, list(finished.contrasts()))
        residual_projection = _residual_projection(np.column_stack([np.ones(len(arms)), columns]))

    # Runs that predict the same are one run, so the degrees of freedom are counted over distinct runs. The sum of
    # squared residuals has the expectation `trace * run variance`, and by Satterthwaite's approximation
    # trace^2 / sum of squares degrees of freedom.
    membership = _group_identical_runs(seeds, fingerprints)
    residual_form = membership.T @ residual_projection @ membership
    trace = float(np.trace(residual_form))
    if trace < 0.5:
        raise UserError(
            f"{block.name}: {len(arms)} runs of {len(finished.arms)} arms leave nothing to measure chance by; take "
            "hydra.sweeper.seeds=2 or more."
        )
    degrees_of_freedom = trace**2 / float(np.sum(residual_form**2))

    # Sums of squares: of the runs' scores, and what rows contribute to it. Rounding can make them negative.
    run_sum_of_squares = max(0.0, float(scores @ residual_projection @ scores))
    residual_sum_of_squares = max(0.0, float(np.sum((residual_projection @ deviations) * deviations)))
    return _Noise(
        name=block.name,
        validation=validation,
        scores=scores,
        deviations=deviations,
        arm_estimator=np.linalg.pinv(model, rtol=1e-9)[: len(finished.arms)],
        membership=membership,
        run_variance=run_sum_of_squares / trace,
        residual_variance=residual_sum_of_squares / trace,
        degrees_of_freedom=degrees_of_freedom,
        # With folds, rows are beyond the run variance only what one effect has more of than the others.
        row_degrees_of_freedom=block.rows.shape[1] - 1.0 if block.folds is None else degrees_of_freedom,
        seed_count=len(np.unique(seeds)),
        fold_count=1 if block.folds is None else len(np.unique(block.folds[runs])),
        overlap=0.0 if block.folds is None else 1 / (block.fold_count - 1),
    )


def _measure_deviations(rows: np.ndarray) -> np.ndarray:
    """Compute `_Noise.deviations` of the rows of each run, 0 where they are NaN."""
    counts = np.sum(~np.isnan(rows), axis=1, keepdims=True)
    deviations = np.nan_to_num(rows - np.nanmean(rows, axis=1, keepdims=True)) / np.sqrt(counts * (counts - 1))
    return np.asarray(deviations)


def _are_all_arms_identical(arms: np.ndarray, seeds: np.ndarray, fingerprints: Sequence[str], count: int) -> bool:
    """Whether all runs of a seed predict the same, for every seed.

    Args:
        arms: each run's arm, (run).
        seeds: each run's seed, (run).
        fingerprints: of each run's predictions, (run).
        count: number of arms. Some seed must have them all: else the arms were never compared.
    """
    by_seed: dict[int, set[str]] = {}
    for seed, fingerprint in zip(seeds.tolist(), fingerprints, strict=True):
        by_seed.setdefault(seed, set()).add(fingerprint)
    is_some_seed_complete = any(len(set(arms[seeds == seed].tolist())) == count for seed in by_seed)
    return is_some_seed_complete and all(len(each) == 1 for each in by_seed.values())


def _group_identical_runs(seeds: np.ndarray, fingerprints: Sequence[str]) -> np.ndarray:
    """Group the runs of one seed that predict the same, (run, distinct run)."""
    names = [f"{seed} {fingerprint}" for seed, fingerprint in zip(seeds.tolist(), fingerprints, strict=True)]
    _, group = np.unique(names, return_inverse=True)
    membership: np.ndarray = (group[:, None] == np.arange(group.max() + 1)).astype(float)
    return membership


def _estimate_family(effects: Sequence[Effect], weights: np.ndarray, noise: Sequence[_Noise]) -> Estimates:
    """Estimate effects on each data set, and average them.

    Args:
        effects: the effects.
        weights: of the arms in each effect, (effect, arm).
        noise: of each data set.
    """
    if not effects:
        nothing = np.zeros((0, 0))
        return Estimates([], np.zeros(0), nothing, nothing, np.zeros(0), 1.0, {})
    values = {each.name: weights @ each.arm_estimator @ each.scores for each in noise}
    run_covariances = [each.run_variance * each.sum_squared_weights(weights) for each in noise]
    row_covariances = []
    # Data sets that share validation rows are added up row by row first.
    for validation in dict.fromkeys(each.validation for each in noise):
        sharing = [index for index, each in enumerate(noise) if each.validation == validation]
        deviations = np.sum([noise[index].row_deviations(weights) for index in sharing], axis=0)
        residual = np.sum(
            [noise[index].residual_variance * noise[index].sum_squared_weights(weights) for index in sharing], axis=0
        )
        of_rows = _zero_negative_variances(deviations @ deviations.T - residual)
        of_runs = np.sum([run_covariances[index] for index in sharing], axis=0)
        first = noise[sharing[0]]
        of_one_seed = first.seed_count * of_runs + first.fold_count * of_rows
        row_covariances.append(of_rows + first.overlap * of_one_seed)
    count = len(noise)
    # A data set on which nothing changes is a constant 0: it adds no variance and costs no degrees of freedom.
    return Estimates(
        effects=effects,
        values=np.mean(list(values.values()), axis=0),
        run_covariance=np.sum(run_covariances, axis=0) / count**2,
        row_covariance=np.sum(row_covariances, axis=0) / count**2,
        run_degrees_of_freedom=_satterthwaite(run_covariances, [each.degrees_of_freedom for each in noise]),
        row_degrees_of_freedom=min(each.row_degrees_of_freedom for each in noise if each.has_noise),
        by_block=values,
    )


def _satterthwaite(covariances: Sequence[np.ndarray], degrees_of_freedom: Sequence[float]) -> np.ndarray:
    """Compute the degrees of freedom of a sum of variances (Satterthwaite 1946), (effect).

    Args:
        covariances: of each data set, (effect, effect).
        degrees_of_freedom: of each data set; 0 if it has no noise.
    """
    variances = np.array([np.diag(each) for each in covariances])
    terms = sum(own**2 / each for own, each in zip(variances, degrees_of_freedom, strict=True) if each > 0)
    # Where no variance was measured, the sum of the degrees of freedom.
    combined = np.full(variances.shape[1], sum(degrees_of_freedom))
    np.divide(variances.sum(0) ** 2, terms, out=combined, where=terms > 0)
    return combined


def _residual_projection(model: np.ndarray) -> np.ndarray:
    """The projection on what a model leaves of the runs, (run, run)."""
    projection: np.ndarray = np.eye(len(model)) - model @ np.linalg.pinv(model, rtol=1e-9)
    return projection


def _zero_negative_variances(covariance: np.ndarray) -> np.ndarray:
    """Set rows and columns with a negative variance to 0; an estimate by subtraction can be negative."""
    is_positive = np.diag(covariance) > 0
    return covariance * np.outer(is_positive, is_positive)


def compute_max_t_multipliers(covariance: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Compute quantiles of the largest of many standardized effects in absolute value, by simulation (max-t).

    Args:
        covariance: of the effects, (effect, effect).
        levels: probabilities.

    Returns:
        The critical value of a normal distribution at each level, (level).
    """
    if np.count_nonzero(np.diag(covariance) > 0) < 2:
        return np.array(norm.ppf(0.5 + np.array(levels) / 2))
    return np.array(np.quantile(_draw_largest(covariance), levels))


def compute_max_t_level(covariance: np.ndarray, multiplier: float) -> float:
    """Compute how likely the largest standardized effect is within a critical value; the inverse of the multipliers."""
    if np.count_nonzero(np.diag(covariance) > 0) < 2:
        return float(2 * norm.cdf(multiplier) - 1)
    return float((_draw_largest(covariance) <= multiplier).mean())


def _draw_largest(covariance: np.ndarray) -> np.ndarray:
    """Draw the largest of the standardized effects in absolute value, (draw)."""
    return np.asarray(np.abs(root_of_correlation(covariance) @ _draw_normals(len(covariance))).max(0))


def root_of_correlation(covariance: np.ndarray) -> np.ndarray:
    """Compute the root of the correlation matrix of a covariance, which turns independent draws into correlated ones.

    Effects without variance have a root of zeros.
    """
    standard_errors = np.sqrt(np.diag(covariance))
    varies = standard_errors > 0
    inverse = np.divide(1, standard_errors, out=np.zeros_like(standard_errors), where=varies)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance * np.outer(inverse, inverse))
    # Subtracting variances can leave a matrix that is not a correlation: clip negative eigenvalues, and scale the rows
    # of the root so that the diagonal is 1 again.
    roots = eigenvectors * np.sqrt(np.maximum(eigenvalues, 0))
    roots[varies] /= np.linalg.norm(roots[varies], axis=1, keepdims=True)
    roots[~varies] = 0
    return np.asarray(roots)


@lru_cache
def _draw_normals(width: int) -> np.ndarray:
    """Standard normal draws, the same every time, (effect, draw)."""
    return np.random.default_rng(0).standard_normal((width, NORMAL_DRAWS))
