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

from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import Block, estimate
from recipes.ablation.sequential import MOST_LOOKS, kept, level_at, looks, still_open
from recipes.ablation.verdicts import FIGHTS, HELPS, HURTS, IDENTICAL, TOGETHER, Verdict, judge
from recipes.cli import positive_integer
from recipes.reports.tables import markdown_table

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
    idle: int = 0
    """So many tricks, the last ones, change nothing at all: their runs predict the same with them and without."""
    lost: float = 0.0
    """Share of the runs that fail."""


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


def designs() -> dict[str, tuple[Design, int]]:
    """Those that are counted, each with its seeds."""

    def every(arm: Arm) -> bool:
        return True

    def apart(arm: Arm) -> bool:
        return not any(arm[one] and arm[other] for one, other in REFUSED)

    two = (2,) * TRICKS
    return {
        "auto, 8 tricks, 16 arms x 3 seeds": (choose(two, every, "auto", 33), 3),
        "one_at_a_time, 9 arms x 5 seeds": (choose(two, every, "one_at_a_time", 33), 5),
        "leave_one_out, 9 arms x 5 seeds": (choose(two, every, "leave_one_out", 33), 5),
        "auto, two pairs refused, 16 arms x 3 seeds": (choose(two, apart, "auto", 16), 3),
        "auto, levels 3 2 2 2 2, 24 arms x 2 seeds": (choose((3, 2, 2, 2, 2), every, "auto", 33), 2),
        "full, 4 tricks, 16 arms x 3 seeds": (choose(two[:4], every, "full", 33), 3),
        "one trick, 2 arms x 3 seeds": (choose(two[:1], every, "full", 33), 3),
    }


def accuracy(world: World, arms: Sequence[Arm]) -> np.ndarray:
    """The true accuracy of each arm, (arm)."""
    levels = np.array(arms, dtype=float)
    found: np.ndarray = BASE + levels @ np.array(world.effects[: levels.shape[1]])
    return found


def study(world: World, arms: Sequence[Arm], seeds: int, chance: np.random.Generator) -> list[Block]:
    """All runs of a study."""
    levels = np.array(arms, dtype=float)
    levels[:, levels.shape[1] - world.idle :] = 0
    count, tricks = levels.shape
    # An arm with idle tricks is the arm without them.
    _, twin = np.unique(levels, axis=0, return_inverse=True)
    spread = np.sqrt(
        1
        + world.seed**2
        + world.run**2
        + world.row_of_seed**2
        + world.row_of_run**2
        + (levels**2).sum(1) * world.row_of_trick**2
    )
    middle = spread * norm.ppf(accuracy(world, arms))
    numbers = np.repeat(np.arange(count), seeds), np.tile(np.arange(seeds), count)
    blocks = []
    for block in range(world.blocks):
        easy = chance.standard_normal(world.rows, dtype=np.float32)
        of_trick = chance.standard_normal((tricks, world.rows), dtype=np.float32) * world.row_of_trick
        of_arm = middle[:, None] + easy + levels @ of_trick
        of_seed = chance.standard_normal((seeds, world.rows), dtype=np.float32) * world.row_of_seed
        of_seed += chance.standard_normal((seeds, 1), dtype=np.float32) * world.seed
        of_run = chance.standard_normal((count, seeds, world.rows), dtype=np.float32) * world.row_of_run
        of_run += chance.standard_normal((count, seeds, 1), dtype=np.float32) * world.run
        right = (of_arm[:, None] + of_seed + of_run[twin] > 0).reshape(count * seeds, -1).astype(float)
        names = [f"{number}" for number in np.repeat(twin, seeds).tolist()]
        whole = Block(str(block), *numbers, right, names)
        blocks.append(_some(whole, chance.random(count * seeds) >= world.lost))
    return blocks


def _some(block: Block, kept: np.ndarray) -> Block:
    names = [name for name, there in zip(block.fingerprints, kept, strict=True) if there]
    return replace(block, arms=block.arms[kept], seeds=block.seeds[kept], rows=block.rows[kept], fingerprints=names)


def share(hits: np.ndarray) -> str:
    """A share of studies, or of effects of studies, (study, ...), with its standard error over studies."""
    each = hits.reshape(len(hits), -1).mean(1)
    return f"{each.mean():.2%} ± {each.std() / len(each) ** 0.5:.2%}"


def covered(world: World, design: Design, seeds: int, studies: int, number: int) -> list[str]:
    """How often intervals hold the truth, each, all at once, and by seeds alone; how often a verdict is false.

    Then the same of pairs, all at once; empty where the arms tell none.
    """
    chance = np.random.default_rng(number)
    each, together, simple, false = [], [], [], []
    of_pairs: list[bool] = []
    false_pairs: list[bool] = []
    for _ in range(studies):
        blocks = study(world, design.arms, seeds, chance)
        contrasts = design.contrasts()
        mains, pairs = judge(design, blocks, MARGIN)
        truth = {effect: float(contrasts[effect] @ accuracy(world, design.arms)) for effect in contrasts}
        false.append(any(_is_false(verdict, truth[verdict.effect]) for verdict in mains if verdict.is_told))
        family, _ = estimate(design, blocks, [verdict.effect for verdict in mains if verdict.word == IDENTICAL])
        if not family.effects:
            continue  # with so many runs lost the study gives no interval, right or wrong
        true = np.array([truth[effect] for effect in family.effects])
        each.append(np.mean(_within(family.interval(0.95), true)))
        together.append(
            all(
                verdict.outer[0] <= truth[verdict.effect] <= verdict.outer[1]
                for verdict in mains
                if verdict.effect in family.effects
            )
        )
        of_runs = t.ppf(0.975, family.run_freedom) ** 2 * family.run_variance
        simple.append(np.mean((family.values - true) ** 2 <= of_runs))
        if estimated := [verdict for verdict in pairs if verdict.outer != (0.0, 0.0)]:
            of_pairs.append(all(pair.outer[0] <= truth[pair.effect] <= pair.outer[1] for pair in estimated))
            false_pairs.append(any(_is_false(pair, truth[pair.effect]) for pair in estimated))
    counted = (each, together, false, simple, of_pairs, false_pairs)
    return [share(np.array(hits)) if hits else "" for hits in counted]


def _is_false(verdict: Verdict, truth: float) -> bool:
    """Whether a study says that a trick helps or hurts, or a pair helps together or fights, where it does not."""
    return (verdict.word in (HELPS, TOGETHER) and truth <= 1e-9) or (verdict.word in (HURTS, FIGHTS) and truth >= -1e-9)


def _within(interval: tuple[np.ndarray, np.ndarray], truth: np.ndarray) -> np.ndarray:
    return (interval[0] <= truth) & (truth <= interval[1])


def in_rounds(world: World, design: Design, most: int, studies: int, number: int) -> list[str]:
    """Seeds added to the arms of what is open: how often the intervals that tricks end with hold, and what it took."""
    chance = np.random.default_rng(number)
    contrasts = design.contrasts()
    plan = looks(2, most)
    hits, false, spent = [], [], []
    for _ in range(studies):
        blocks = study(world, design.arms, most, chance)
        verdicts: dict[Effect, Verdict] = {}
        there = [np.zeros(len(block.arms), dtype=bool) for block in blocks]
        arms: Sequence[Arm] = design.arms
        for look, seeds in enumerate(plan):
            asked = [design.arms.index(arm) for arm in arms]
            there = [
                old | (np.isin(block.arms, asked) & (block.seeds < seeds))
                for old, block in zip(there, blocks, strict=True)
            ]
            seen = [_some(block, kept_runs) for block, kept_runs in zip(blocks, there, strict=True)]
            verdicts = kept(verdicts, judge(design, seen, MARGIN, level_at(look, plan))[0])
            arms = still_open(design, verdicts.values())
            if not arms:
                break
        truth = {effect: float(contrasts[effect] @ accuracy(world, design.arms)) for effect in verdicts}
        hits.append([each.outer[0] <= truth[effect] <= each.outer[1] for effect, each in verdicts.items()])
        false.append(any(_is_false(each, truth[effect]) for effect, each in verdicts.items()))
        spent.append(sum(map(np.sum, there)))
    return [share(np.array(hits)), share(np.array(false)), f"{np.mean(spent):.0f} of {len(design.arms) * most}"]


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
    parser.add_argument("--studies", type=positive_integer, default=10_000, help="simulated studies a line")
    parser.add_argument("--processes", type=positive_integer, default=2)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.processes) as pool:
        tables(arguments.studies, pool.map)


def tables(studies: int, mapped: Callable) -> None:
    """Print every table, as far as it is there."""
    known = designs()
    first, alone = (next(name for name in known if name.startswith(kind)) for kind in ("auto", "one_at_a_time"))
    lines = [(first, name) for name in WORLDS] + [(name, "as seen") for name in list(known)[1:]]
    lines.append((next(name for name in known if name.startswith("full")), "two tricks idle"))
    found = mapped(
        partial(_called, covered, studies), enumerate((WORLDS[world], *known[name]) for name, world in lines)
    )
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
    print(markdown_table(header, [[f"{name}; {world}", *row] for (name, world), row in zip(lines, found, strict=True)]))

    few = max(100, studies // 5)
    print(f"\nSeeds in rounds, {MOST_LOOKS} looks at most, {few:,} studies a line\n", flush=True)
    ends = [(name, world, 6) for name in (first, alone) for world in ("as seen", "noisy runs", "with effects")]
    calls = [(WORLDS[world], known[name][0], most) for name, world, most in ends]
    found = mapped(partial(_called, in_rounds, few), enumerate(calls))
    header = ["design; world", "intervals that hold", "studies with a false helps or hurts", "runs"]
    print(
        markdown_table(
            header,
            [[f"{name.partition(' x ')[0]}; {world}", *row] for (name, world, _), row in zip(ends, found, strict=True)],
        )
    )

    print(
        f"\nEqual runs: 16 arms x 3 seeds (48), 9 arms x 5 and x 6 seeds (45, 54); {few:,} studies a line\n", flush=True
    )
    cases = [
        (name, size, replace(WORLDS[name], effects=(size, *WORLDS[name].effects[1:])))
        for name in ("as seen", "noisy runs")
        for size in (0.0, 0.01, 0.02, 0.03, 0.04)
    ]
    compared = ((known[first][0], 3), (known[alone][0], 5), (known[alone][0], 6))
    calls = [(world, *each) for *_, world in cases for each in compared]
    found = list(mapped(partial(_called, judged, few), enumerate(calls)))
    rows = []
    for place, (name, size, _) in enumerate(cases):
        (widths, helps), *others = found[3 * place : 3 * place + 3]
        # 48 runs lie half-way: a variance goes with one over the runs.
        width = np.mean([np.mean(each) ** -2 for each, _ in others]) ** -0.5
        said = [share(np.array(each)) for each in (helps, *(each for _, each in others))]
        ratio = np.mean(widths) / width
        rows.append([f"{name}; true effect {size:+.2f}", f"{np.mean(widths):.4f}", f"{ratio:.2f}", *said])
    header = ["world", "width, auto", "of one_at_a_time's", "helps, auto", "helps, 45 alone", "helps, 54 alone"]
    print(markdown_table(header, rows))


def _called(count: Callable, studies: int, call: tuple) -> list:
    number, (world, design, seeds) = call
    return count(world, design, seeds, studies, number)


if __name__ == "__main__":
    main()
