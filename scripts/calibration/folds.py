"""Rotating folds (`hydra.sweeper.rotate`) in simulation: coverage, false claims, and the variance that they save.

A run answers a row correctly if a sum of normal draws is above 0: the difficulty of the row, the effect of each trick
on average and on this row, and noise of the seed, of the run and of the row in a run. On top of these, the effect of a
trick depends on the training rows. Each row of the data shifts it if it is among them, so that training sets with
common rows make scores correlate. `influence` is the variance of this shift for one row, relative to the variance of
what one validation row contributes to the effect with one seed; Nadeau and Bengio's correction assumes 1. `likeness` is
the correlation of the two. So the truth, the mean over training samples, is known in closed form.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import norm

from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import Block, estimate
from recipes.ablation.observations import combine_folds
from recipes.ablation.verdicts import HELPS, HURTS, judge
from recipes.reports.tables import markdown_table

BASE = 0.85
MARGIN = 0.01
FOLDS = 10
FOLD_ROWS = 100


@dataclass(frozen=True)
class World:
    """How scores arise; the noises are standard deviations relative to a row's own, which is 1."""

    influence: float = 1.0
    likeness: float = 0.0
    effects: Sequence[float] = (0.0,) * 8
    """Each trick's effect on the true accuracy."""
    seed: float = 0.03
    run: float = 0.05
    row_of_run: float = 0.45
    row_of_trick: float = 0.3
    unlike: bool = False
    """Whether only the first trick moves rows differently."""

    def row_deviations(self, tricks: int) -> np.ndarray:
        """The standard deviations of each trick's effect over rows, (trick)."""
        return np.where((np.arange(tricks) > 0) & self.unlike, 0.0, self.row_of_trick)


WORLDS = {
    "influence 1": World(),
    "influence 0": World(influence=0),
    "influence 3": World(influence=3),
    "rows that help training count more": World(likeness=0.5),
    "rows that help training count less": World(likeness=-0.5),
    "noisy runs": World(run=0.15, seed=0.1),
    "tricks unlike on rows": World(unlike=True, row_of_trick=0.5),
    "with effects": World(effects=(0.03, -0.02, 0.01, 0, 0, 0.02, 0, -0.01)),
}


def designs() -> dict[str, tuple[Design, int]]:
    """The simulated designs, each with its number of seeds."""

    def every(arm: Arm) -> bool:
        return True

    two = (2,) * 8
    return {
        "8 tricks, 16 arms x 3 seeds": (choose(two, every, "auto", 33), 3),
        "4 tricks alone, 5 arms x 5 seeds": (choose(two[:4], every, "one_at_a_time", 33), 5),
        "one trick, 2 arms x 3 seeds": (choose(two[:1], every, "full", 33), 3),
        "one trick, 2 arms x 10 seeds": (choose(two[:1], every, "full", 33), 10),
        "one trick, 2 arms x 25 seeds on 10 folds": (choose(two[:1], every, "full", 33), 25),
    }


def measure_shifts(world: World, design: Design) -> np.ndarray:
    """Measure how much the training rows of one fold shift each trick, as standard deviations of the draws, (trick)."""
    generator = np.random.default_rng(0)
    levels, rows = np.array(design.arms, dtype=float), 20_000
    of_trick = world.row_deviations(levels.shape[1])[:, None] * generator.standard_normal((levels.shape[1], rows))
    noise = world.row_of_run * generator.standard_normal((len(levels), rows))
    draws = generator.standard_normal(rows) + levels @ of_trick + noise
    deviation = draws.std(axis=1, keepdims=True)
    contrasts = design.contrasts()
    weights = np.array([contrasts[effect] for effect in design.mains])
    of_rows = (weights @ (draws + deviation * norm.ppf(BASE) > 0)).var(axis=1)
    # How much the accuracy rises with the center of the draws.
    slope = norm.pdf(norm.ppf(BASE)) / deviation.mean()
    return np.asarray((world.influence * of_rows / FOLD_ROWS) ** 0.5 / slope)


def simulate_study(
    world: World, design: Design, seeds: int, shifts: np.ndarray, generator: np.random.Generator
) -> tuple[Block, Block, dict[Effect, float]]:
    """Simulate the runs of a study with rotating folds, and on one split, with the same data and noise of the seeds.

    Returns:
        The two blocks, and the true effects.
    """
    levels = np.array(design.arms, dtype=float)
    count, tricks = levels.shape
    row_of_trick = world.row_deviations(tricks)
    deviation = np.sqrt(
        1 + world.seed**2 + world.run**2 + world.row_of_run**2 + levels**2 @ (row_of_trick**2 + shifts**2 / (FOLDS - 1))
    )
    accuracy = BASE + levels @ np.array(world.effects[:tricks])
    center = deviation * norm.ppf(accuracy)
    difficulty = generator.standard_normal((FOLDS, FOLD_ROWS))
    of_trick = generator.standard_normal((FOLDS, tricks, FOLD_ROWS))
    # The mean influence of a fold's rows on each trick; standardized, its likeness to the rows' own effects included.
    of_fold = world.likeness * of_trick.mean(-1) * FOLD_ROWS**0.5
    of_fold += (1 - world.likeness**2) ** 0.5 * generator.standard_normal((FOLDS, tricks))
    # (trained without this fold, trick)
    of_training = shifts * (of_fold.sum(0) - of_fold) / (FOLDS - 1)

    def run(fold: int, numbers: np.ndarray) -> Block:
        noise = world.seed * generator.standard_normal((1, len(numbers), 1))
        noise = noise + world.run * generator.standard_normal((count, len(numbers), 1))
        noise = noise + world.row_of_run * generator.standard_normal((count, len(numbers), FOLD_ROWS))
        of_rows = levels @ (row_of_trick[:, None] * of_trick[fold] + of_training[fold][:, None]) + difficulty[fold]
        is_right = (center[:, None, None] + of_rows[:, None] + noise > 0).reshape(-1, FOLD_ROWS).astype(float)
        arms, all_seeds = np.repeat(np.arange(count), len(numbers)), np.tile(numbers, count)
        names = [f"{arm} {seed}" for arm, seed in zip(arms, all_seeds, strict=True)]
        return Block("data", arms, all_seeds, is_right, names)

    numbers = np.arange(seeds)
    rotating = [run(fold, numbers[numbers % FOLDS == fold]) for fold in range(min(seeds, FOLDS))]
    truth = {effect: float(weights @ accuracy) for effect, weights in design.contrasts().items()}
    return combine_folds(rotating, FOLDS), run(0, numbers), truth


def count_coverage(studies: int, case: tuple[int, World, Design, int]) -> list[str]:
    """Count how often intervals hold the truth and claims are false, and compare with one split.

    Returns:
        The cells of a line: coverage of each interval, of all at once, studies with a false claim, median half width;
        coverage and half width of one split; the ratio of variances.
    """
    number, world, design, seeds = case
    generator, shifts = np.random.default_rng(number), measure_shifts(world, design)
    at_once, false = [], []
    covered, halves, squares = (np.zeros((studies, 2, len(design.mains))) for _ in range(3))
    for study in range(studies):
        rotating, split, truth = simulate_study(world, design, seeds, shifts, generator)
        for index, block in enumerate((rotating, split)):
            family, _ = estimate(design, [block])
            true = np.array([truth[effect] for effect in family.effects])
            low, high = family.interval(0.95)
            covered[study, index] = (low <= true) & (true <= high)
            halves[study, index] = (high - low) / 2
            squares[study, index] = (family.values - true) ** 2
        mains, _ = judge(design, [rotating], MARGIN)
        at_once.append(all(low <= truth[each.effect] <= high for each in mains for low, high in [each.interval]))
        wrong = {HELPS: lambda value: value <= 1e-9, HURTS: lambda value: value >= -1e-9}
        false.append(any(each.word in wrong and wrong[each.word](truth[each.effect]) for each in mains))
    by_study = squares.mean(-1)
    draws = generator.integers(studies, size=(500, studies))
    ratios = by_study[:, 1][draws].mean(1) / by_study[:, 0][draws].mean(1)
    return [
        format_fraction(covered[:, 0].mean(-1)),
        format_fraction(np.array(at_once)),
        format_fraction(np.array(false)),
        f"{np.median(halves[:, 0]):.4f}",
        format_fraction(covered[:, 1].mean(-1)),
        f"{np.median(halves[:, 1]):.4f}",
        f"{by_study[:, 1].mean() / by_study[:, 0].mean():.2f} ± {ratios.std():.2f}",
    ]


def format_fraction(of_studies: np.ndarray) -> str:
    """Format the mean over studies, with its standard error."""
    return f"{of_studies.mean():.1%} ± {of_studies.std() / len(of_studies) ** 0.5:.1%}"


def describe(studies: int, processes: int) -> Iterator[str]:
    """Simulate studies with rotating folds and on one split; the lines of a table in Markdown.

    Args:
        studies: simulated studies a line.
        processes: number of processes.
    """
    known = designs()
    first = next(iter(known))
    lines = [(first, name) for name in WORLDS] + [(name, "influence 1") for name in list(known)[1:]]
    lines += [("one trick, 2 arms x 3 seeds", "noisy runs"), ("one trick, 2 arms x 10 seeds", "influence 3")]
    cases = [(number, WORLDS[world], *known[name]) for number, (name, world) in enumerate(lines)]
    yield f"Rotating folds, {FOLDS} folds of {FOLD_ROWS} rows, {studies:,} studies a line"
    yield ""
    header = ["design; world", "each", "all at once", "studies with a false helps or hurts", "half width"]
    header += ["each, one split", "half width, one split", "variance, one split / rotating"]
    with ProcessPoolExecutor(processes) as pool:
        cells = list(pool.map(partial(count_coverage, studies), cases))
    yield markdown_table(header, [[f"{name}; {world}", *row] for (name, world), row in zip(lines, cells, strict=True)])
