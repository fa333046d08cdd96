"""Simulate studies whose truth is known, and count how often the ablation's verdicts are right; nothing is trained.

    python scripts/calibrate.py                  # 10,000 studies a line, minutes
    python scripts/calibrate.py --studies 500    # a look

A simulated run answers each validation row rightly where a sum of normal draws is above 0: how easy the row is, what
each trick does on average and to this very row, and what chance does to a seed, to a run, to a row under a seed and to
a row in a run. So every arm's true accuracy is known in closed form, tricks act unequally on rows, and arms share seeds
as in a real study. Figures stand with their Monte Carlo standard error.
"""

import argparse
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
from recipes.ablation.rounds import MOST_LOOKS, clear, kept, level_at, looks
from recipes.ablation.verdicts import HELPS, HURTS, judge
from recipes.tables import markdown_table

BASE = 0.85
MARGIN = 0.01
TRICKS = 8
REFUSED = ((0, 1), (2, 3))


@dataclass(frozen=True)
class World:
    """How scores come about; all but `effects`, `rows` and `blocks` are standard deviations beside a row's own, 1."""

    effects: Sequence[float] = (0.0,) * TRICKS
    """What each trick does to the true accuracy."""
    rows: int = 500
    blocks: int = 1
    """Data sets."""
    seed: float = 0.03
    run: float = 0.05
    row_of_seed: float = 0.2
    row_of_run: float = 0.4
    row_of_trick: float = 0.2


WORLDS: Mapping[str, World] = {
    "as seen": World(),
    "noisy runs": World(run=0.15, seed=0.1),
    "quiet runs": World(run=0.01, row_of_run=0.1, row_of_seed=0.1),
    "tricks unlike on rows": World(row_of_trick=0.5),
    "tricks alike on rows": World(row_of_trick=0.0),
    "few rows": World(rows=100),
    "two data sets": World(blocks=2),
    "with effects": World(effects=(0.03, -0.02, 0.01, 0, 0, 0.02, 0, -0.01)),
}


def designs() -> dict[str, tuple[Design, int]]:
    """Those that are counted, each with its seeds."""

    def every(arm: Arm) -> bool:
        return True

    def apart(arm: Arm) -> bool:
        return not any(arm[one] and arm[other] for one, other in REFUSED)

    two = (2,) * TRICKS
    return {
        "auto, 16 arms x 3 seeds": (choose(two, every, "auto", 33), 3),
        "one_at_a_time, 9 arms x 5 seeds": (choose(two, every, "one_at_a_time", 33), 5),
        "leave_one_out, 9 arms x 5 seeds": (choose(two, every, "leave_one_out", 33), 5),
        "auto, two pairs refused, 16 arms x 3 seeds": (choose(two, apart, "auto", 16), 3),
        "full, 4 tricks, 16 arms x 2 seeds": (choose(two[:4], every, "full", 33), 2),
    }


def accuracy(world: World, arms: Sequence[Arm]) -> np.ndarray:
    """The true accuracy of each arm, (arm)."""
    chosen = np.array(arms, dtype=float)
    found: np.ndarray = BASE + chosen @ np.array(world.effects[: chosen.shape[1]])
    return found


def study(world: World, arms: Sequence[Arm], seeds: int, chance: np.random.Generator) -> list[Block]:
    """All runs of a study."""
    chosen = np.array(arms, dtype=float)
    count, tricks = chosen.shape
    spread = np.sqrt(
        1 + world.seed**2 + world.run**2 + world.row_of_seed**2 + world.row_of_run**2
        + chosen.sum(1) * world.row_of_trick**2
    )  # fmt: skip
    middle = spread * norm.ppf(accuracy(world, arms))
    blocks = []
    for block in range(world.blocks):
        easy = chance.standard_normal(world.rows, dtype=np.float32)
        of_trick = chance.standard_normal((tricks, world.rows), dtype=np.float32) * world.row_of_trick
        of_arm = middle[:, None] + easy + chosen @ of_trick
        of_seed = chance.standard_normal((seeds, world.rows), dtype=np.float32) * world.row_of_seed
        of_seed += chance.standard_normal((seeds, 1), dtype=np.float32) * world.seed
        of_run = chance.standard_normal((count, seeds, world.rows), dtype=np.float32) * world.row_of_run
        of_run += chance.standard_normal((count, seeds, 1), dtype=np.float32) * world.run
        right = (of_arm[:, None] + of_seed + of_run > 0).reshape(count * seeds, -1).astype(float)
        names = [f"{block}-{run}" for run in range(count * seeds)]
        numbers = np.repeat(np.arange(count), seeds), np.tile(np.arange(seeds), count)
        blocks.append(Block(str(block), *numbers, right, names))
    return blocks


def share(hits: np.ndarray) -> str:
    """A share of studies, or of effects of studies, (study, ...), with its standard error over studies."""
    each = hits.reshape(len(hits), -1).mean(1)
    return f"{each.mean():.2%} ± {each.std() / len(each) ** 0.5:.2%}"


def covered(world: World, design: Design, seeds: int, studies: int, number: int) -> list[str]:
    """How often the intervals hold the truth: each by itself, all at once, and those of simpler statistics."""
    chance = np.random.default_rng(number)
    contrasts = design.contrasts()
    hits, at_once, simple, naive = [], [], [], []
    for _ in range(studies):
        blocks = study(world, design.arms, seeds, chance)
        family, _ = estimate(design, blocks)
        truth = np.array([contrasts[effect] for effect in family.effects]) @ accuracy(world, design.arms)
        hits.append(_within(family.interval(0.95), truth))
        at_once.append(_within(family.together(0.95), truth).all())
        weights = np.array([contrasts[effect] for effect in family.effects]) / seeds
        freedom = (len(design.arms) - 1) * (seeds - 1)
        width = t.ppf(0.975, freedom) * np.sqrt(family.run_variance)
        simple.append(abs(family.values - truth) <= width)
        over_rows = [np.repeat(weights, seeds, axis=1) @ block.rows for block in blocks]
        naive_rows = sum(each.var(1, ddof=1) / each.shape[1] for each in over_rows) / len(blocks) ** 2
        naive.append(abs(family.values - truth) <= t.ppf(0.975, freedom) * np.sqrt(family.run_variance + naive_rows))
    return [share(np.array(each)) for each in (hits, at_once, simple, naive)]


def _within(interval: tuple[np.ndarray, np.ndarray], truth: np.ndarray) -> np.ndarray:
    return (interval[0] <= truth) & (truth <= interval[1])


def in_rounds(world: World, design: Design, most: int, studies: int, number: int) -> list[str]:
    """Seeds added until all is clear: how often the interval that a trick ends with holds, and what was spent."""
    chance = np.random.default_rng(number)
    contrasts = design.contrasts()
    plan = looks(2, most)
    hits, wrong, spent = [], [], []
    for _ in range(studies):
        blocks = study(world, design.arms, most, chance)
        verdicts: dict = {}
        for look, seeds in enumerate(plan):
            there = [_first(block, seeds) for block in blocks]
            verdicts = kept(verdicts, judge(design, there, MARGIN, level_at(look, plan))[0])
            if all(map(clear, verdicts.values())):
                break
        truth = {effect: float(contrasts[effect] @ accuracy(world, design.arms)) for effect in verdicts}
        hits.append([each.outer[0] <= truth[effect] <= each.outer[1] for effect, each in verdicts.items()])
        wrong.append(any(each.word in (HELPS, HURTS) and abs(truth[effect]) < 1e-9
                         for effect, each in verdicts.items()))  # fmt: skip
        spent.append(seeds)
    return [share(np.array(hits)), share(np.array(wrong)), f"{np.mean(spent):.1f} of {most}"]


def _first(block: Block, seeds: int) -> Block:
    chosen = block.seeds < seeds
    names = [name for name, there in zip(block.fingerprints, chosen, strict=True) if there]
    return replace(block, arms=block.arms[chosen], seeds=block.seeds[chosen], rows=block.rows[chosen],
                   fingerprints=names)  # fmt: skip


def judged(world: World, design: Design, seeds: int, studies: int, number: int) -> tuple[list[float], list[bool]]:
    """Widths of the first trick's interval, and whether it is said to help."""
    chance = np.random.default_rng(number)
    widths, helps = [], []
    for _ in range(studies):
        first = judge(design, study(world, design.arms, seeds, chance), MARGIN)[0][0]
        widths.append(first.outer[1] - first.outer[0])
        helps.append(first.word == HELPS)
    return widths, helps


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10_000, help="simulated studies a line")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.processes) as pool:
        tables(arguments.studies, pool.map)


def tables(studies: int, mapped: Callable) -> None:
    """Print every table, as far as it is there."""
    known = designs()
    first = next(iter(known))
    lines = [(first, name) for name in WORLDS] + [(name, "as seen") for name in list(known)[1:]]
    calls = [(WORLDS[world], *known[name]) for name, world in lines]
    found = mapped(partial(_called, covered, studies), enumerate(calls))
    print(f"Intervals that hold the truth, {studies:,} studies a line\n")
    header = ["design, world", "each", "all at once", "seeds only", "naive sum"]
    print(markdown_table(header, [[f"{name}; {world}", *row] for (name, world), row in zip(lines, found, strict=True)]))

    few = max(100, studies // 5)
    print(f"\nSeeds in rounds, {MOST_LOOKS} looks at most, {few:,} studies a line\n", flush=True)
    ends = [(first, world, 6) for world in ("as seen", "noisy runs", "with effects")]
    calls = [(WORLDS[world], known[name][0], most) for name, world, most in ends]
    found = mapped(partial(_called, in_rounds, few), enumerate(calls))
    header = ["design, world", "intervals that hold", "studies with a false helps or hurts", "seeds"]
    print(markdown_table(header, [[f"{name.split(' x ')[0]}; {world}", *row]
                                  for (name, world, _), row in zip(ends, found, strict=True)]))  # fmt: skip

    fraction, alone = known[first][0], known["one_at_a_time, 9 arms x 5 seeds"][0]
    sizes = (0.0, 0.01, 0.02, 0.03, 0.04)
    worlds = {"as seen": WORLDS["as seen"], "noisy runs": WORLDS["noisy runs"]}
    print(f"\nEqual runs: 16 arms x 3 seeds, and 9 arms x 5 (45) or 6 (54) seeds; {few:,} studies a line\n", flush=True)
    cases = [
        (name, size, replace(world, effects=(size, *world.effects[1:])))
        for name, world in worlds.items()
        for size in sizes
    ]
    calls = [(world, *design) for _, _, world in cases for design in ((fraction, 3), (alone, 5), (alone, 6))]
    found = list(mapped(partial(_called, judged, few), enumerate(calls)))
    rows = []
    for place, (name, size, _) in enumerate(cases):
        ours, *others = found[3 * place : 3 * place + 3]
        # 48 runs lie between: a variance goes with one over the runs.
        width = (0.5 / np.mean(others[0][0]) ** 2 + 0.5 / np.mean(others[1][0]) ** 2) ** -0.5
        said = [share(np.array(each[1])) for each in (ours, *others)]
        rows.append(
            [f"{name}; true effect {size:+.2f}", f"{np.mean(ours[0]):.4f}", f"{np.mean(ours[0]) / width:.2f}", *said]
        )
    header = ["world", "width, auto", "of one_at_a_time's", "helps, auto", "helps, 45 alone", "helps, 54 alone"]
    print(markdown_table(header, rows))


def _called(count: Callable, studies: int, call: tuple) -> list:
    number, (world, design, seeds) = call
    return count(world, design, seeds, studies, number)


if __name__ == "__main__":
    main()
