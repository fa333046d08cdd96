"""Simulate studies whose truth is known, and count how often the ablation's verdicts are right; nothing is trained.

    python scripts/calibrate.py                  # 10,000 studies a line, minutes
    python scripts/calibrate.py --studies 500    # a quick estimate
    python scripts/calibrate.py folds            # a part of its own in scripts/calibration, such as rotating folds

A simulated run answers a validation row correctly if a sum of normal draws is above 0:

- the difficulty of the row,
- the effect of each trick, on average and on this row,
- noise of the seed, of the run, of the row under a seed, and of the row in a run.

So the true accuracy of every arm is known in closed form, tricks have unequal effects on rows, and arms share seeds as
in a real study. Figures are given with their Monte Carlo standard error.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import norm, t

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.ablation.design import Arm, Design, choose
from recipes.ablation.effects import Block, estimate
from recipes.ablation.judging import Question, judge_log
from recipes.ablation.logs import LoggedRun
from recipes.ablation.verdicts import FIGHTS, HELPS, HURTS, IDENTICAL, TOGETHER, Verdict, judge
from recipes.cli import positive_integer
from recipes.errors import UserError
from recipes.reports.tables import markdown_table

BASE = 0.85
MAJORITY = 0.5
MARGIN = 0.01
TRICKS = 8
REFUSED = ((0, 1), (2, 3))
PARTS = ("datasets", "expectations", "failures", "folds", "sequential", "spread")
"""The modules of `scripts/calibration`."""


@dataclass(frozen=True)
class World:
    """How scores arise; the noises are standard deviations relative to a row's own, which is 1."""

    effects: Sequence[float] = (0.0,) * TRICKS
    """Each trick's effect on the true accuracy."""
    rows: int = 500
    blocks: int = 1
    """Number of data sets."""
    seed: float = 0.03
    run: float = 0.05
    row_of_seed: float = 0.2
    row_of_run: float = 0.4
    row_of_trick: float = 0.2
    idle: int = 0
    """This many tricks, the last ones, change nothing: their runs predict the same with and without them."""
    lost: float = 0.0
    """Fraction of the runs that fail."""


WORLDS: Mapping[str, World] = {
    "as seen": World(),
    "noisy runs": World(run=0.15, seed=0.1),
    "quiet runs": World(run=0.01, row_of_run=0.1, row_of_seed=0.1),
    "tricks unlike on rows": World(row_of_trick=0.5),
    "tricks alike on rows": World(row_of_trick=0.0),
    "few rows": World(rows=100),
    "two data sets": World(blocks=2),
    "with effects": World(effects=(0.03, -0.02, 0.01, 0, 0, 0.02, 0, -0.01)),
    "a fifth of the runs lost": World(lost=0.2),
    "two tricks idle": World(idle=2),
}


@dataclass(frozen=True)
class LogWorld:
    """How the scores of a log without effects arise; the noises are standard deviations of the score."""

    seed: float = 0.01
    run: float = 0.01
    digits: int = 4
    is_paired: bool = True
    """Whether the arms have their seeds in common."""
    failing: float = 0.0
    """Fraction of the runs, in every arm, that stay at the level of the majority class."""
    lost: float = 0.0
    """Fraction of the runs without a score."""
    base: float = 1.0
    """How much noisier the runs of the base are than the others."""


LOG_WORLDS: Mapping[str, LogWorld] = {
    "common seeds": LogWorld(),
    "no common seeds": LogWorld(is_paired=False),
    "two digits": LogWorld(digits=2),
    "a tenth of the runs collapsed": LogWorld(failing=0.1),
    "a fifth of the runs lost": LogWorld(lost=0.2),
    "the base three times as noisy": LogWorld(base=3.0),
}


def designs() -> dict[str, tuple[Design, int]]:
    """The simulated designs, each with its number of seeds."""

    def every(arm: Arm) -> bool:
        return True

    def without_refused_pairs(arm: Arm) -> bool:
        return not any(arm[one] and arm[other] for one, other in REFUSED)

    two = (2,) * TRICKS
    return {
        "auto, 8 tricks, 16 arms x 3 seeds": (choose(two, every, "auto", 33), 3),
        "one_at_a_time, 9 arms x 5 seeds": (choose(two, every, "one_at_a_time", 33), 5),
        "leave_one_out, 9 arms x 5 seeds": (choose(two, every, "leave_one_out", 33), 5),
        "auto, two pairs refused, 16 arms x 3 seeds": (choose(two, without_refused_pairs, "auto", 16), 3),
        "auto, levels 3 2 2 2 2, 24 arms x 2 seeds": (choose((3, 2, 2, 2, 2), every, "auto", 33), 2),
        "full, 4 tricks, 16 arms x 3 seeds": (choose(two[:4], every, "full", 33), 3),
        "one trick, 2 arms x 3 seeds": (choose(two[:1], every, "full", 33), 3),
    }


def accuracy(world: World, arms: Sequence[Arm]) -> np.ndarray:
    """The true accuracy of each arm, (arm)."""
    levels = np.array(arms, dtype=float)
    true_accuracy: np.ndarray = BASE + levels @ np.array(world.effects[: levels.shape[1]])
    return true_accuracy


def simulate_study(world: World, arms: Sequence[Arm], seeds: int, generator: np.random.Generator) -> list[Block]:
    """Simulate all runs of a study, a block for each data set."""
    levels = np.array(arms, dtype=float)
    levels[:, levels.shape[1] - world.idle :] = 0
    count, tricks = levels.shape
    # Arms that differ in idle tricks only have the same runs.
    _, distinct_arm = np.unique(levels, axis=0, return_inverse=True)
    # The standard deviation of the sum of all draws, which turns an accuracy into a threshold.
    deviation = np.sqrt(
        1
        + world.seed**2
        + world.run**2
        + world.row_of_seed**2
        + world.row_of_run**2
        + (levels**2).sum(1) * world.row_of_trick**2
    )
    center = deviation * norm.ppf(accuracy(world, arms))
    arm_numbers, seed_numbers = np.repeat(np.arange(count), seeds), np.tile(np.arange(seeds), count)
    blocks = []
    for block in range(world.blocks):
        difficulty = generator.standard_normal(world.rows, dtype=np.float32)
        of_trick = generator.standard_normal((tricks, world.rows), dtype=np.float32) * world.row_of_trick
        of_arm = center[:, None] + difficulty + levels @ of_trick
        of_seed = generator.standard_normal((seeds, world.rows), dtype=np.float32) * world.row_of_seed
        of_seed += generator.standard_normal((seeds, 1), dtype=np.float32) * world.seed
        of_run = generator.standard_normal((count, seeds, world.rows), dtype=np.float32) * world.row_of_run
        of_run += generator.standard_normal((count, seeds, 1), dtype=np.float32) * world.run
        is_right = (of_arm[:, None] + of_seed + of_run[distinct_arm] > 0).reshape(count * seeds, -1).astype(float)
        fingerprints = [f"{number}" for number in np.repeat(distinct_arm, seeds).tolist()]
        complete = Block(str(block), arm_numbers, seed_numbers, is_right, fingerprints)
        blocks.append(_select_runs(complete, generator.random(count * seeds) >= world.lost))
    return blocks


def _select_runs(block: Block, is_selected: np.ndarray) -> Block:
    pairs = zip(block.fingerprints, is_selected, strict=True)
    return replace(
        block,
        arms=block.arms[is_selected],
        seeds=block.seeds[is_selected],
        rows=block.rows[is_selected],
        fingerprints=[fingerprint for fingerprint, selected in pairs if selected],
    )


def format_fraction(hits: np.ndarray) -> str:
    """Format a fraction of studies, or of effects of studies, (study, ...), with its standard error over studies."""
    by_study = hits.reshape(len(hits), -1).mean(1)
    return f"{by_study.mean():.2%} ± {by_study.std() / len(by_study) ** 0.5:.2%}"


def count_coverage(world: World, design: Design, seeds: int, studies: int, number: int) -> list[str]:
    """Count how often intervals include the truth, and how often a verdict is false.

    Args:
        world: how scores arise.
        design: the arms.
        seeds: number of seeds.
        studies: number of simulated studies.
        number: seed of the simulation.

    Returns:
        The fractions: each interval, all at once, studies with a false verdict, each interval from seeds alone; then
        pairs all at once and studies with a false pair, empty if the arms cannot estimate any.
    """
    generator = np.random.default_rng(number)
    each, at_once, false, by_seeds = [], [], [], []
    pairs_at_once: list[bool] = []
    false_pairs: list[bool] = []
    for _ in range(studies):
        blocks = simulate_study(world, design.arms, seeds, generator)
        contrasts = design.contrasts()
        mains, pairs = judge(design, blocks, MARGIN)
        truth = {effect: float(contrasts[effect] @ accuracy(world, design.arms)) for effect in contrasts}
        false.append(any(_is_false(verdict, truth[verdict.effect]) for verdict in mains if verdict.has_estimate))
        family, _ = estimate(design, blocks, [verdict.effect for verdict in mains if verdict.word == IDENTICAL])
        if not family.effects:
            continue  # after too many failures the study gives no interval
        true = np.array([truth[effect] for effect in family.effects])
        low, high = family.interval(0.95)
        each.append(np.mean((low <= true) & (true <= high)))
        estimated_mains = [verdict for verdict in mains if verdict.effect in family.effects]
        at_once.append(all(_includes(verdict, truth[verdict.effect]) for verdict in estimated_mains))
        critical_value = t.ppf(0.975, family.run_degrees_of_freedom)
        by_seeds.append(np.mean((family.values - true) ** 2 <= critical_value**2 * family.run_variance))
        if estimated_pairs := [verdict for verdict in pairs if verdict.interval != (0.0, 0.0)]:
            pairs_at_once.append(all(_includes(pair, truth[pair.effect]) for pair in estimated_pairs))
            false_pairs.append(any(_is_false(pair, truth[pair.effect]) for pair in estimated_pairs))
    counted = (each, at_once, false, by_seeds, pairs_at_once, false_pairs)
    return [format_fraction(np.array(hits)) if hits else "" for hits in counted]


def _includes(verdict: Verdict, truth: float) -> bool:
    return verdict.interval[0] <= truth <= verdict.interval[1]


def _is_false(verdict: Verdict, truth: float) -> bool:
    """Whether a trick is said to help or hurt, or a pair to help together or fight, where it does not."""
    return (verdict.word in (HELPS, TOGETHER) and truth <= 1e-9) or (verdict.word in (HURTS, FIGHTS) and truth >= -1e-9)


def measure_first_trick(
    world: World, design: Design, seeds: int, studies: int, number: int
) -> tuple[list[float], list[bool]]:
    """Measure, in each study, the width of the first trick's interval, and whether the verdict is that it helps."""
    generator = np.random.default_rng(number)
    widths, helps = [], []
    for _ in range(studies):
        first = judge(design, simulate_study(world, design.arms, seeds, generator), MARGIN)[0][0]
        widths.append(first.interval[1] - first.interval[0])
        helps.append(first.word == HELPS)
    return widths, helps


def simulate_log(world: LogWorld, arms: int, seeds: int, generator: np.random.Generator) -> list[LoggedRun]:
    """Simulate the log of another program, in which no arm has an effect."""
    of_seed = generator.normal(BASE, world.seed, (1 if world.is_paired else arms, seeds))
    noise = world.run * np.where(np.arange(arms) == 0, world.base, 1.0)
    scores = of_seed + noise[:, None] * generator.standard_normal((arms, seeds))
    scores[generator.random((arms, seeds)) < world.failing] = MAJORITY
    scores[generator.random((arms, seeds)) < world.lost] = np.nan
    runs = []
    for arm, seed in np.ndindex(arms, seeds):
        score = None if np.isnan(scores[arm, seed]) else round(float(scores[arm, seed]), world.digits)
        name = str(seed if world.is_paired else arm * seeds + seed)
        runs.append(LoggedRun((f"arm {arm}" if arm else "base",), name, "data", score, MAJORITY))
    return runs


def count_in_logs(world: LogWorld, arms: int, seeds: int, studies: int, number: int) -> list[str]:
    """Count how often a log without effects gets a false claim, and how often it gets no verdict.

    Args:
        world: how scores arise.
        arms: number of arms, the base included.
        seeds: number of seeds.
        studies: number of simulated logs.
        number: seed of the simulation.
    """
    generator = np.random.default_rng(number)
    words: list[set[str]] = []
    for _ in range(studies):
        try:
            findings = judge_log(simulate_log(world, arms, seeds, generator), Question(margin=MARGIN)).findings
        except UserError:  # too few runs have a score
            findings = None
        words.append({verdict.word.partition(" (")[0] for verdict in findings.mains} if findings else set())
    claims = [bool(each & {HELPS, HURTS}) for each in words]
    breaks = ["breaks training" in each for each in words]
    return [format_fraction(np.array(hits)) for hits in (claims, breaks, [not each for each in words])]


def main() -> None:
    """Print every table of a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["studies", *PARTS], default="studies")
    parser.add_argument("--studies", type=positive_integer, default=10_000, help="simulated studies a line")
    parser.add_argument("--processes", type=positive_integer, default=2)
    arguments = parser.parse_args()
    if arguments.part in PARTS:
        part = importlib.import_module(f"scripts.calibration.{arguments.part}")
        for line in part.describe(arguments.studies, arguments.processes):
            print(line, flush=True)
        return
    with ProcessPoolExecutor(arguments.processes) as pool:
        print_tables(arguments.studies, pool.map)


def print_tables(studies: int, mapped: Callable) -> None:
    """Print each table as soon as it is ready.

    Args:
        studies: number of simulated studies a line.
        mapped: as `map`, perhaps over processes.
    """
    known = designs()
    auto, one_at_a_time = (next(name for name in known if name.startswith(kind)) for kind in ("auto", "one_at_a_time"))
    lines = [(auto, name) for name in WORLDS] + [(name, "as seen") for name in list(known)[1:]]
    lines.append((next(name for name in known if name.startswith("full")), "two tricks idle"))
    calls = [(WORLDS[world], *known[name]) for name, world in lines]
    cells = mapped(partial(_call, count_coverage, studies), enumerate(calls))
    print(f"Intervals that hold the truth, {studies:,} studies a line\n")
    header = [
        "design; world",
        "each",
        "all at once",
        "studies with a false helps or hurts",
        "each, by seeds alone",
        "pairs, all at once",
        "studies with a false pair",
    ]
    print(markdown_table(header, [[f"{name}; {world}", *row] for (name, world), row in zip(lines, cells, strict=True)]))

    few = max(100, studies // 5)
    print(
        f"\nEqual runs: 16 arms x 3 seeds (48), 9 arms x 5 and x 6 seeds (45, 54); {few:,} studies a line\n", flush=True
    )
    sized_worlds = [
        (name, size, replace(WORLDS[name], effects=(size, *WORLDS[name].effects[1:])))
        for name in ("as seen", "noisy runs")
        for size in (0.0, 0.01, 0.02, 0.03, 0.04)
    ]
    compared = ((known[auto][0], 3), (known[one_at_a_time][0], 5), (known[one_at_a_time][0], 6))
    calls = [(world, *each) for *_, world in sized_worlds for each in compared]
    measured = list(mapped(partial(_call, measure_first_trick, few), enumerate(calls)))
    rows = []
    for index, (name, size, _) in enumerate(sized_worlds):
        (widths, helps), *others = measured[3 * index : 3 * index + 3]
        # 48 runs lie half-way between 45 and 54: a variance is inversely proportional to the runs.
        width = np.mean([np.mean(each) ** -2 for each, _ in others]) ** -0.5
        fractions = [format_fraction(np.array(each)) for each in (helps, *(each for _, each in others))]
        ratio = np.mean(widths) / width
        rows.append([f"{name}; true effect {size:+.2f}", f"{np.mean(widths):.4f}", f"{ratio:.2f}", *fractions])
    header = ["world", "width, auto", "of one_at_a_time's", "helps, auto", "helps, 45 alone", "helps, 54 alone"]
    print(markdown_table(header, rows))

    print(f"\nLogs of other programs without effects (scripts/judge.py), {few:,} logs a line\n", flush=True)
    sizes = ((2, 2), (2, 5), (5, 3), (9, 3))
    log_cases = [(name, *size) for name in LOG_WORLDS for size in sizes]
    log_calls = [(LOG_WORLDS[name], arms, seeds) for name, arms, seeds in log_cases]
    cells = mapped(partial(_call, count_in_logs, few), enumerate(log_calls))
    names = [f"{name}; {arms} arms x {seeds} seeds" for name, arms, seeds in log_cases]
    header = ["world; log", "a false helps or hurts", "a false breaks training", "no verdict"]
    print(markdown_table(header, [[name, *row] for name, row in zip(names, cells, strict=True)]))


def _call(function: Callable, studies: int, numbered: tuple) -> list:
    number, (world, design, seeds) = numbered
    return function(world, design, seeds, studies, number)


if __name__ == "__main__":
    main()
