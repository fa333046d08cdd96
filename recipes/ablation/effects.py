"""What an effect is, how far it may be off, and how many effects at once that is true of.

Two kinds of chance are in a score. Another seed gives another score on the same rows: *run variance*. Other rows of
the same kind give another score of the same run: *row variance*. An effect, a sum of runs, must carry both, or it is
claimed of these very rows only. Runs and rows are crossed, so their variances overlap: the spread of an effect over
rows holds what seeds do to single rows, which the spread over seeds holds already. With weights w of the runs, n rows,

    run       mean square of what arms and seeds leave of the scores
    rows      variance over rows of the weighted sum of the runs' rows
    residual  mean square of what arms and seeds leave of the runs' rows, beyond run

an effect on one data set has the run variance w'w * run and the row variance (rows - w'w * residual) / n. Runs of one
seed that predict the same, since a trick did nothing there, are one run. Data sets are averaged with equal weights;
where several are judged on the same rows, these are added up before their spread is taken. The square of an interval's
half width is t^2 * run variance + t^2 * row variance, each kind with the t of its own degrees of freedom (Satterthwaite
1946 over data sets): one t for both was simulated to hold in 88 to 93 % of studies where seeds are few.
`scripts/calibrate.py` counts how often the intervals hold.

Several effects are judged together: their intervals are as much wider as makes all of them hold at once in 95 % of the
studies (max-t), told by the effects' own correlations.

Assumed: seeds move all arms alike (what is averaged over many arms bears it if not; the difference of two arms, one of
them much noisier, does not), and rows are independent of each other (pieces of one document are not).
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
    validation: str | None = None
    """Equal where two data sets are judged on the same rows; None where no other is."""


@dataclass(frozen=True)
class Estimates:
    """Effects of one family, with what their intervals are made of; arrays are (effect) unless told."""

    effects: Sequence[Effect]
    values: np.ndarray
    run_covariance: np.ndarray
    """What more seeds would make smaller, (effect, effect)."""
    row_covariance: np.ndarray
    """What more labelled rows would make smaller, (effect, effect)."""
    run_freedom: np.ndarray
    """Degrees of freedom of the first."""
    row_freedom: float
    by_block: Mapping[str, np.ndarray]
    """The values on each data set."""

    @property
    def run_variance(self) -> np.ndarray:
        """Of the runs alone."""
        return np.diag(self.run_covariance)

    @property
    def row_variance(self) -> np.ndarray:
        """Of the rows alone."""
        return np.diag(self.row_covariance)

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends of each effect's own interval."""
        of_runs, of_rows = t.ppf(0.5 + level / 2, self.run_freedom), t.ppf(0.5 + level / 2, self.row_freedom)
        half = np.sqrt(of_runs**2 * self.run_variance + of_rows**2 * self.row_variance)
        return self.values - half, self.values + half

    def together(self, *levels: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each level, low and high ends of intervals that hold all at once."""
        multipliers = largest_of(self.run_covariance + self.row_covariance, levels)
        return [self.interval(float(2 * norm.cdf(multiplier) - 1)) for multiplier in multipliers]


def present(design: Design, blocks: Sequence[Block]) -> Design:
    """The design of the arms that have a run on every data set.

    Raises:
        UserError: there are none, or a data set has no finished run.
    """
    common = set.intersection(*(set(block.arms.tolist()) for block in blocks)) if blocks else set()
    if not common:
        which = "arm has a finished run on every data set" if blocks else "run of the study has finished"
        raise UserError(f"no {which}; runs.csv says why.")
    return design.of(design.arms[arm] for arm in common)


def estimate(design: Design, blocks: Sequence[Block], settled: Collection[Effect] = ()) -> tuple[Estimates, Estimates]:
    """Estimate the effects of single levels, and those of pairs that the arms can tell.

    Arms that have no run on some data set are left out everywhere; single missing runs are borne by the others of their
    arm and seed.

    Args:
        design: the arms.
        blocks: the runs, a block for each data set.
        settled: effects of single levels that need no estimate: they and their pairs are in no family.

    Raises:
        UserError: nothing is left to measure chance by.
    """
    there = present(design, blocks)
    contrasts = {
        effect: weights
        for effect, weights in there.contrasts().items()
        if not any(Effect((place,)) in settled for place in effect.places)
    }
    chance = [_Chance.of(block, design, there) for block in blocks] if contrasts else []
    if chance and not any(each.freedom for each in chance):
        raise UserError("every run of a seed predicts the same, so there is nothing to measure chance by.")
    families = []
    for size in (1, 2):
        effects = [effect for effect in contrasts if len(effect.places) == size]
        weights = np.array([contrasts[effect] for effect in effects]).reshape(len(effects), len(there.arms))
        families.append(_estimates(effects, weights, chance))
    return families[0], families[1]


def by_data(
    design: Design, blocks: Sequence[Block], settled: Collection[Effect] = ()
) -> dict[str, dict[Effect, float]]:
    """The effects of single levels on each data set, but for those that need no estimate."""
    singles, _ = estimate(design, blocks, settled)
    return {name: dict(zip(singles.effects, values.tolist(), strict=True)) for name, values in singles.by_block.items()}


@dataclass(frozen=True)
class _Chance:
    """The runs on one data set, and how large chance is there."""

    name: str
    validation: str
    rows: np.ndarray
    """(run, row)."""
    of_arms: np.ndarray
    """Makes runs into arms, least squares beside seeds, (arm, run)."""
    alike: np.ndarray
    """Which runs are one and the same, (run, distinct run)."""
    run: float
    residual: float
    freedom: float

    @classmethod
    def of(cls, block: Block, design: Design, there: Design) -> "_Chance":
        """Take arms and seeds out of the runs, and measure what is left.

        Where there is one seed, nothing is: then what the effects themselves leave must do.
        """
        place = {arm: number for number, arm in enumerate(there.arms)}
        numbers = np.array([place.get(design.arms[arm], -1) for arm in block.arms.tolist()])
        kept = np.flatnonzero(numbers >= 0)
        arms, seeds, rows = numbers[kept], block.seeds[kept], block.rows[kept]
        fingerprints = [block.fingerprints[run] for run in kept.tolist()]
        if _are_all_arms_identical(arms, seeds, fingerprints, len(there.arms)):
            return cls(
                name=block.name,
                validation=block.validation or block.name,
                rows=rows,
                of_arms=np.zeros((len(there.arms), len(arms))),
                alike=np.eye(len(arms)),
                run=0.0,
                residual=0.0,
                freedom=0.0,
            )
        of_arm = (arms[:, None] == np.arange(len(there.arms))).astype(float)
        of_seed = (seeds[:, None] == np.unique(seeds)).astype(float)
        names = [f"{seed} {fingerprint}" for seed, fingerprint in zip(seeds.tolist(), fingerprints, strict=True)]
        _, which = np.unique(names, return_inverse=True)
        alike = (which[:, None] == np.arange(which.max() + 1)).astype(float)
        model = np.column_stack([of_arm, of_seed - of_seed.mean(0)])
        left = _left_by(model)
        if np.trace(left) < 0.5:
            told = columns([there.arms[arm] for arm in arms.tolist()], there.levels, list(there.contrasts()))
            left = _left_by(np.column_stack([np.ones(len(arms)), told]))
        spread = alike.T @ left @ alike
        size = float(np.trace(spread))
        if size < 0.5:
            raise UserError(
                f"{block.name}: {len(arms)} runs of {len(there.arms)} arms leave nothing to measure chance by; take "
                "hydra.sweeper.seeds=2 or more."
            )
        means, count = rows.mean(1), rows.shape[1]
        over_runs = max(0.0, float(means @ left @ means))
        over_rows = max(0.0, float(np.sum((left @ rows) * rows)) - count * over_runs)
        return cls(
            name=block.name,
            validation=block.validation or block.name,
            rows=rows,
            of_arms=np.linalg.pinv(model, rtol=1e-9)[: len(there.arms)],
            alike=alike,
            run=over_runs / size,
            residual=over_rows / (size * (count - 1)),
            freedom=size**2 / float(np.sum(spread**2)),
        )

    def weighed(self, weights: np.ndarray) -> np.ndarray:
        """How much of the chance of a single run is in sums of arms, (effect, effect)."""
        runs = weights @ self.of_arms @ self.alike
        return np.asarray(runs @ runs.T)

    def scattered(self, weights: np.ndarray) -> np.ndarray:
        """How sums of arms vary over rows, (effect, row)."""
        return np.asarray(weights @ self.of_arms @ (self.rows - self.rows.mean(1, keepdims=True)))


def _estimates(effects: Sequence[Effect], weights: np.ndarray, chance: Sequence[_Chance]) -> Estimates:
    if not effects:
        nothing = np.zeros((0, 0))
        return Estimates([], np.zeros(0), nothing, nothing, np.zeros(0), 1.0, {})
    values = {each.name: (weights @ each.of_arms @ each.rows).mean(1) for each in chance}
    by_runs = [each.run * each.weighed(weights) for each in chance]
    by_rows = []
    for validation in dict.fromkeys(each.validation for each in chance):
        of_rows = [each for each in chance if each.validation == validation]
        scattered = np.sum([each.scattered(weights) for each in of_rows], axis=0)
        residual = np.sum([each.residual * each.weighed(weights) for each in of_rows], axis=0)
        rows = scattered.shape[1]
        by_rows.append(_not_negative((scattered @ scattered.T / (rows - 1) - residual) / rows))
    count = len(chance)
    variances = np.array([np.diag(each) for each in by_runs])
    # A data set on which nothing changes adds no noise, and so no degrees of freedom.
    noisy = [each.freedom > 0 for each in chance]
    terms = sum(own**2 / each.freedom for own, each, counts in zip(variances, chance, noisy, strict=True) if counts)
    freedom = np.full(len(effects), sum(each.freedom for each in chance))
    np.divide(variances.sum(0) ** 2, terms, out=freedom, where=terms > 0)
    return Estimates(
        effects=effects,
        values=np.mean(list(values.values()), axis=0),
        run_covariance=np.sum(by_runs, axis=0) / count**2,
        row_covariance=np.sum(by_rows, axis=0) / count**2,
        run_freedom=freedom,
        row_freedom=min(each.rows.shape[1] for each in chance if each.freedom > 0) - 1.0,
        by_block=values,
    )


def _are_all_arms_identical(arms: np.ndarray, seeds: np.ndarray, fingerprints: Sequence[str], count: int) -> bool:
    """Whether the runs of each seed predict the same, in all arms.

    Args:
        arms: each run's arm, (run).
        seeds: each run's seed, (run).
        fingerprints: of each run's predictions, (run).
        count: how many arms there are. Some seed must have them all: else arms were never compared.
    """
    by_seed: dict[int, set[str]] = {}
    for seed, fingerprint in zip(seeds.tolist(), fingerprints, strict=True):
        by_seed.setdefault(seed, set()).add(fingerprint)
    is_seed_complete = any(len(set(arms[seeds == seed].tolist())) == count for seed in by_seed)
    return is_seed_complete and all(len(names) == 1 for names in by_seed.values())


def _left_by(model: np.ndarray) -> np.ndarray:
    """Takes a model out of runs, (run, run)."""
    left: np.ndarray = np.eye(len(model)) - model @ np.linalg.pinv(model, rtol=1e-9)
    return left


def _not_negative(covariance: np.ndarray) -> np.ndarray:
    """The same with nothing where a variance is negative, which an estimate by subtraction can be."""
    there = np.diag(covariance) > 0
    return covariance * np.outer(there, there)


def largest_of(covariance: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """What the largest of several standardized effects stays under, in these shares of all studies, (level)."""
    errors = np.sqrt(np.diag(covariance))
    moving = errors > 0
    if moving.sum() < 2:
        return np.array(norm.ppf(0.5 + np.array(levels) / 2))
    correlation = covariance[np.ix_(moving, moving)] / np.outer(errors[moving], errors[moving])
    values, vectors = np.linalg.eigh(correlation)
    # What is left of a matrix that is not quite a correlation is made one.
    roots = vectors * np.sqrt(np.maximum(values, 0))
    roots /= np.linalg.norm(roots, axis=1, keepdims=True)
    largest = np.abs(roots @ _draws(int(moving.sum()))).max(0)
    return np.array(np.quantile(largest, levels))


@lru_cache
def _draws(width: int) -> np.ndarray:
    """Standard normal draws, the same every time, (effect, draw)."""
    return np.random.default_rng(0).standard_normal((width, DRAWS))
