"""What an effect is, how far it may be off, and how many effects at once that is true of.

Two kinds of chance are in a score. Another seed gives another score on the same rows: *run variance*. Other rows of
the same kind give another score of the same run: *row variance*. An effect, a sum of runs, must carry both, or it is
claimed of these very rows only. Runs and rows are crossed, so their variances overlap: the spread of an effect over
rows holds what seeds do to single rows, which the spread over seeds holds already. With weights w of the runs, n rows,

    run       mean square of what arms and seeds leave of the scores
    rows      variance over rows of the weighted sum of the runs' rows
    residual  mean square of what arms and seeds leave of the runs' rows, beyond run

the variance of an effect on one data set is w'w * run + (rows - w'w * residual) / n, its degrees of freedom are
Satterthwaite's (1946), and data sets, whose rows and seeds differ, are averaged with equal weights.
`scripts/calibrate.py` simulates how often the intervals hold.

Several effects are judged together: their intervals are as much wider as makes all of them hold at once in 95 % of the
studies (max-t), told by the effects' own correlations.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import norm, t

from recipes.ablation.design import Design, Effect, columns
from recipes.errors import UserError

DRAWS = 20_000


@dataclass(frozen=True)
class Block:
    """All runs on one data set."""

    name: str
    arms: np.ndarray
    """Each run's arm, as its number in the design, (run)."""
    seeds: np.ndarray
    """Each run's seed, (run)."""
    rows: np.ndarray
    """What each validation row adds to each run's score, (run, row): the score is its mean."""
    fingerprints: Sequence[str]
    """Equal where two runs' predictions are, to the last digit, (run)."""


@dataclass(frozen=True)
class Estimates:
    """Effects of one family, with what their intervals are made of; all arrays are (effect) unless told."""

    effects: Sequence[Effect]
    values: np.ndarray
    covariance: np.ndarray
    """(effect, effect)."""
    freedom: np.ndarray
    """Degrees of freedom."""
    run_variance: np.ndarray
    """What part of the variance more seeds would make smaller."""
    row_variance: np.ndarray
    """What part of the variance more labelled rows would make smaller."""
    by_block: Mapping[str, np.ndarray]
    """The values on each data set."""

    @property
    def errors(self) -> np.ndarray:
        """Standard errors."""
        found: np.ndarray = np.sqrt(np.diag(self.covariance))
        return found

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends of each effect's own interval."""
        half = self.errors * t.ppf(0.5 + level / 2, self.freedom)
        return self.values - half, self.values + half

    def together(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends of intervals that hold all at once."""
        return self.interval(float(2 * norm.cdf(_largest(self.covariance, level)) - 1))


def estimate(design: Design, blocks: Sequence[Block], known: Collection[Effect] = ()) -> tuple[Estimates, Estimates]:
    """Estimate the effects of single levels, and those of pairs that the design can tell.

    Arms that have no run on some data set are left out everywhere; single missing runs are borne by the others of their
    arm and seed.

    Args:
        design: the arms.
        blocks: the runs, a block for each data set.
        known: effects of single levels that need no estimate: they and their pairs are in no family.

    Raises:
        UserError: nothing is left to measure chance by.
    """
    present = set.intersection(*(set(block.arms.tolist()) for block in blocks))
    kept = sorted(present)
    arms = Design(design.kind, design.levels, tuple(design.arms[arm] for arm in kept))
    contrasts = arms.contrasts()
    families = []
    for size in (1, 2):
        effects = [effect for effect in contrasts if len(effect.places) == size
                   and not any(Effect((place,)) in known for place in effect.places)]  # fmt: skip
        weights = np.zeros((len(effects), len(design.arms)))
        if effects:
            weights[:, kept] = [contrasts[effect] for effect in effects]
        families.append(_estimate(arms, kept, effects, weights, blocks))
    return families[0], families[1]


def by_data(design: Design, blocks: Sequence[Block]) -> dict[str, dict[Effect, float]]:
    """The effects of single levels on each data set."""
    singles, _ = estimate(design, blocks)
    return {name: dict(zip(singles.effects, values.tolist(), strict=True)) for name, values in singles.by_block.items()}


def _estimate(
    design: Design, kept: Sequence[int], effects: Sequence[Effect], weights: np.ndarray, blocks: Sequence[Block]
) -> Estimates:
    parts = [_on(block, design, kept, weights) for block in blocks]
    share = 1 / len(blocks)
    values = np.mean([part.values for part in parts], axis=0)
    runs = share * np.mean([part.run for part in parts], axis=0)
    rows = share * np.mean([part.rows for part in parts], axis=0)
    spread = np.zeros(len(effects))
    for part in parts:
        for mean_square, freedom in part.squares:
            spread += (share**2 * mean_square) ** 2 / freedom
    variance = np.diag(runs + rows)
    freedom = np.divide(variance**2, spread, out=np.full(len(effects), 1.0), where=spread > 0)
    return Estimates(
        effects=effects,
        values=values,
        covariance=runs + rows,
        freedom=np.maximum(freedom, 1.0),
        run_variance=np.diag(runs),
        row_variance=np.diag(rows),
        by_block={block.name: part.values for block, part in zip(blocks, parts, strict=True)},
    )


@dataclass(frozen=True)
class _Part:
    """Of one data set."""

    values: np.ndarray
    run: np.ndarray
    """(effect, effect)."""
    rows: np.ndarray
    """(effect, effect)."""
    squares: Sequence[tuple[np.ndarray, float]]
    """The terms of each effect's variance, each (effect), with their degrees of freedom."""


def _on(block: Block, design: Design, kept: Sequence[int], weights: np.ndarray) -> _Part:
    chosen = np.isin(block.arms, kept)
    arms, seeds, scores = block.arms[chosen], block.seeds[chosen], block.rows[chosen]
    of_arm = (arms[:, None] == np.arange(weights.shape[1])).astype(float)
    of_seed = (seeds[:, None] == np.unique(seeds)).astype(float)
    count = scores.shape[1]
    model = np.column_stack([of_arm, of_seed - of_seed.mean(0)])
    solved = np.linalg.pinv(model, rtol=1e-9)
    runs = weights @ solved[: weights.shape[1]]
    left, freedom = _residual(model, solved)
    if not freedom:
        # One seed has no like to compare with: what the effects themselves leave must do.
        known = [*design.mains, *(pair for pair in design.contrasts() if len(pair.places) == 2)]
        place = {arm: number for number, arm in enumerate(kept)}
        model = columns([design.arms[place[arm]] for arm in arms.tolist()], design.levels, known)
        model = np.column_stack([np.ones(len(model)), model])
        left, freedom = _residual(model, np.linalg.pinv(model, rtol=1e-9))
    if not freedom:
        raise UserError(
            f"{block.name}: {len(arms)} runs of {len(kept)} arms leave nothing to measure chance by; take "
            "hydra.sweeper.seeds=2 or more."
        )
    over_rows = runs @ scores
    means = scores.mean(1)
    by_chance = max(0.0, float(means @ left @ means))
    run = by_chance / freedom
    residual = max(0.0, (float(np.sum((left @ scores) * scores)) - count * by_chance) / (freedom * (count - 1)))
    weighed = runs @ runs.T
    spread = np.atleast_2d(np.cov(over_rows)) if len(weights) else np.zeros((0, 0))
    own = np.diag(weighed)
    return _Part(
        values=over_rows.mean(1),
        run=weighed * run,
        rows=_not_negative((spread - weighed * residual) / count),
        squares=[
            (own * run, freedom),
            (np.diag(spread) / count, count - 1.0),
            (own * residual / count, freedom * (count - 1.0)),
        ],
    )


def _residual(model: np.ndarray, solved: np.ndarray) -> tuple[np.ndarray, float]:
    """What takes a model out of runs, (run, run), and the degrees of freedom that are left."""
    left = np.eye(len(model)) - model @ solved
    return left, float(round(np.trace(left)))


def _not_negative(covariance: np.ndarray) -> np.ndarray:
    """The same without negative variances, which an estimate by subtraction can give."""
    mended: np.ndarray = covariance - np.diag(np.minimum(np.diag(covariance), 0))
    return mended


def _largest(covariance: np.ndarray, level: float) -> float:
    """What the largest of several standardized effects stays under, in this share of all studies."""
    errors = np.sqrt(np.diag(covariance))
    real = errors > 0
    if real.sum() < 2:
        return float(norm.ppf(0.5 + level / 2))
    correlation = covariance[np.ix_(real, real)] / np.outer(errors[real], errors[real])
    values, vectors = np.linalg.eigh(correlation)
    drawn = _draws(int(real.sum())) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    return float(np.quantile(np.abs(drawn).max(1), level))


@lru_cache
def _draws(width: int) -> np.ndarray:
    """Standard normal draws, the same every time, (draw, effect)."""
    return np.random.default_rng(0).standard_normal((DRAWS, width))
