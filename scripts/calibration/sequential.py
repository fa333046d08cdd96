"""Studies in rounds against a fixed design of 10 seeds: false claims, power, runs, and the intervals at the stop.

The first table simulates whole studies. The second draws 20,000 studies a line from the joint law of the looks, with
the variances of the same worlds. So it can compare settings to half a point: the first look, and the budget. It takes
the variances as known, and no trick leaves early.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from recipes.ablation.boundaries import ALPHA, draw_joint_law
from recipes.ablation.design import Design, Effect
from recipes.ablation.effects import Block, Estimates, compute_max_t_multipliers, estimate
from recipes.ablation.sequential import Rounds, draw_rounds, schedule_analyses
from recipes.ablation.verdicts import HELPS, HURTS, Verdict, judge
from recipes.reports.tables import markdown_table
from scripts.calibrate import MARGIN, TRICKS, WORLDS, World, accuracy, designs, format_fraction, simulate_study

FIRST, FIXED = 3, 10
EFFECT = 0.02


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    design: str
    """How its name in `designs` begins."""
    world: str
    effects: tuple[float, ...] = (EFFECT,)
    """Of the first tricks; the others have none."""
    most: int = FIXED
    """The most seeds."""
    passes: float = 1.0
    """The cost of the last trick, as a multiple."""

    @property
    def name(self) -> str:
        """The case in words."""
        effects = ", ".join(f"{effect:+.2f}" for effect in self.effects) or "none"
        price = f"; the last trick costs {self.passes:g} passes" if self.passes > 1 else ""
        return f"{self.design}, {self.world}; effects {effects}; up to {self.most} seeds{price}"


HARMFUL = (EFFECT, *(0.0,) * (TRICKS - 2), -0.04)
CASES = (
    Case("auto", "as seen"),
    Case("auto", "as seen", effects=()),
    Case("auto", "quiet runs", effects=HARMFUL, passes=2.0),
    Case("auto", "noisy runs"),
    Case("auto", "few rows"),
    Case("full", "as seen"),
    Case("one_at_a_time", "as seen"),
    Case("one_at_a_time", "as seen", most=12),
    Case("one_at_a_time", "quiet runs", effects=HARMFUL, passes=2.0),
    Case("one trick", "as seen", effects=()),
    Case("one trick", "as seen", most=12),
)


SHORT = 6
"""60 % of the fixed design."""
MEASURED = 60
"""Studies that the variances of a world are measured in."""
LAW_CASES = (
    ("auto", "as seen", EFFECT),
    ("auto", "as seen", 0.0),
    ("auto", "noisy runs", EFFECT),
    ("full", "as seen", EFFECT),
    ("one_at_a_time", "as seen", EFFECT),
    ("one trick", "as seen", EFFECT),
    ("one trick", "as seen", 0.0),
)
"""The design, the world, and the effect of the first trick."""
SETTINGS = ((3, 10), (3, 12), (5, 10), (5, 12))
"""The seeds at the first look, and the most."""


@dataclass(frozen=True)
class Outcome:
    """The end of one study in rounds, next to the fixed design on the same runs."""

    helps: bool
    """Whether the first trick is shown to help."""
    helps_fixed: bool
    is_false: bool
    """Whether any trick is claimed to help or to hurt that does not, at any look."""
    coverage: float
    """The fraction of the intervals that hold the truth."""
    width: float
    """The mean width of the intervals, relative to those of the fixed design."""
    runs: float
    """The runs, relative to those of the fixed design."""
    seeds: int
    has_dropped: bool
    """Whether the costly trick has fewer seeds than the study."""


def describe(studies: int, processes: int) -> Iterator[str]:
    """Describe the simulation in lines of Markdown.

    Args:
        studies: number of simulated studies of each case.
        processes: how many cases are simulated at the same time.
    """
    yield f"Rounds from {FIRST} seeds on, against a fixed design of {FIXED} seeds; {studies:,} studies a line"
    yield ""
    with ProcessPoolExecutor(processes) as pool:
        outcomes = list(pool.map(simulate_case, CASES, [studies] * len(CASES), range(len(CASES))))
    header = [
        "design, world",
        "false claims",
        "intervals that hold",
        "helps, fixed",
        "helps, in rounds",
        "median runs",
        "mean runs",
        "width",
        "left early",
    ]
    yield markdown_table(header, [[case.name, *_count(case, each)] for case, each in zip(CASES, outcomes, strict=True)])
    yield ""
    yield from describe_settings()


def describe_settings() -> Iterator[str]:
    """Describe what the first look and the budget do, in lines of Markdown."""
    yield "From the joint law of the looks, 20,000 studies a line"
    yield ""
    header = [
        "design, world; effect; seeds",
        "false claims",
        f"helps, {FIXED} seeds fixed",
        f"helps, {SHORT} seeds fixed",
        "helps, in rounds",
        "median runs",
        "mean runs",
    ]
    yield markdown_table(header, [row for case in LAW_CASES for row in _draw_settings(*case)])


def _draw_settings(kind: str, world: str, effect: float) -> Iterator[list[str]]:
    design = next(design for name, (design, _) in designs().items() if name.startswith(kind))
    family = measure_variances(design, WORLDS[world])
    truth = np.zeros(len(family.effects))
    truth[0] = effect
    fixed, short = (
        format_fraction(draw_fixed(scale_to(family, seeds), effect)) if effect else "" for seeds in (FIXED, SHORT)
    )
    for first, most in SETTINGS:
        runs, claims = draw_rounds(design, scale_to(family, first), schedule_analyses(first, most), MARGIN, truth)
        runs = runs / (FIXED * len(design.arms))
        yield [
            f"{kind}, {world}; {effect:+.2f}; {first} to {most}",
            format_fraction((claims[truth == 0] != 0).any(0)),
            fixed,
            short,
            format_fraction(claims[0] > 0) if effect else "",
            f"{np.median(runs):.0%}",
            format_fraction(runs),
        ]


def draw_fixed(family: Estimates, effect: float) -> np.ndarray:
    """Draw studies with one look, and find those that show that the first trick helps, (draw)."""
    law = draw_joint_law(family, np.ones((1, len(family.effects))), 0)
    (multiplier,) = compute_max_t_multipliers(family.run_covariance + family.row_covariance, [1 - ALPHA])
    squared_half = law.squared_half_widths(0, float(multiplier), law.scales[0])
    return np.asarray(law.deviations[0, 0] + effect > np.sqrt(squared_half[0]))


def measure_variances(design: Design, world: World) -> Estimates:
    """Measure the mean variances of the effects with 10 seeds, in studies without effects."""
    generator = np.random.default_rng(0)
    families = [estimate(design, simulate_study(world, design.arms, FIXED, generator))[0] for _ in range(MEASURED)]
    return replace(
        families[0],
        run_covariance=np.mean([family.run_covariance for family in families], axis=0),
        row_covariance=np.mean([family.row_covariance for family in families], axis=0),
    )


def scale_to(family: Estimates, seeds: int) -> Estimates:
    """The variances with another number of seeds than 10."""
    degrees_of_freedom = family.run_degrees_of_freedom * (seeds - 1) / (FIXED - 1)
    return replace(
        family, run_covariance=family.run_covariance * FIXED / seeds, run_degrees_of_freedom=degrees_of_freedom
    )


def _count(case: Case, outcomes: list[Outcome]) -> Iterator[str]:
    yield format_fraction(np.array([each.is_false for each in outcomes], float))
    yield format_fraction(np.array([each.coverage for each in outcomes]))
    for powers in ([each.helps_fixed for each in outcomes], [each.helps for each in outcomes]):
        yield format_fraction(np.array(powers, float)) if case.effects else ""
    runs = np.array([each.runs for each in outcomes])
    yield f"{np.median(runs):.0%}"
    yield format_fraction(runs)
    yield f"{np.mean([each.width for each in outcomes]):.2f}"
    yield f"{np.mean([each.has_dropped for each in outcomes]):.0%}" if case.passes > 1 else ""


def simulate_case(case: Case, studies: int, number: int) -> list[Outcome]:
    """Simulate the studies of one case.

    Args:
        case: the design, the world and the effects.
        studies: number of studies.
        number: seed of the simulation.
    """
    design = next(design for name, (design, _) in designs().items() if name.startswith(case.design))
    effects = (*case.effects, *(0.0,) * (TRICKS - len(case.effects)))
    world = replace(WORLDS[case.world], effects=effects)
    generator = np.random.default_rng(number)
    return [_simulate_study(case, design, world, generator) for _ in range(studies)]


def _simulate_study(case: Case, design: Design, world: World, generator: np.random.Generator) -> Outcome:
    blocks = simulate_study(world, design.arms, max(case.most, FIXED), generator)
    contrasts = design.contrasts()
    truth = {effect: float(contrasts[effect] @ accuracy(world, design.arms)) for effect in design.mains}
    rounds, seeds_of_arm = run_rounds(
        design, blocks, schedule_analyses(FIRST, case.most), {design.mains[-1]: case.passes}
    )
    fixed, _ = judge(design, [select_seeds(block, np.full(len(design.arms), FIXED)) for block in blocks], MARGIN)
    verdicts = list(rounds.mains.values())
    seeds, costly = int(seeds_of_arm.max()), [arm[-1] == 1 for arm in design.arms]
    return Outcome(
        helps=verdicts[0].word == HELPS,
        helps_fixed=fixed[0].word == HELPS,
        is_false=any(_is_false(verdict, truth[verdict.effect]) for verdict in verdicts),
        coverage=float(np.mean([_holds(verdict, truth[verdict.effect]) for verdict in verdicts])),
        width=float(np.mean(list(map(_width, verdicts))) / np.mean(list(map(_width, fixed)))),
        runs=float(seeds_of_arm.sum()) / (FIXED * len(design.arms)),
        seeds=seeds,
        has_dropped=bool(seeds_of_arm[costly].max() < seeds),
    )


def run_rounds(
    design: Design, blocks: list[Block], analyses: list[int], passes: dict[Effect, float]
) -> tuple[Rounds, np.ndarray]:
    """Take a study through its rounds, from runs that have all been made.

    Args:
        design: the arms.
        blocks: all runs.
        analyses: the number of seeds at each look.
        passes: the cost of each level.

    Returns:
        The rounds, and the number of seeds that each arm has had.
    """
    rounds = Rounds(design, analyses, MARGIN)
    seeds_of_arm = np.zeros(len(design.arms), dtype=int)
    for analysis, seeds in enumerate(analyses):
        seeds_of_arm[[design.arms.index(arm) for arm in rounds.arms]] = seeds
        rounds.judge(analysis, [select_seeds(block, seeds_of_arm) for block in blocks])
        rounds.choose_arms(passes)
        if not rounds.arms:
            break
    return rounds, seeds_of_arm


def select_seeds(block: Block, seeds_of_arm: np.ndarray) -> Block:
    """Return the block with the first seeds of each arm only."""
    selected = np.flatnonzero(block.seeds < seeds_of_arm[block.arms])
    return replace(
        block,
        arms=block.arms[selected],
        seeds=block.seeds[selected],
        rows=block.rows[selected],
        fingerprints=[block.fingerprints[run] for run in selected.tolist()],
    )


def _is_false(verdict: Verdict, truth: float) -> bool:
    return (verdict.word == HELPS and truth <= 1e-9) or (verdict.word == HURTS and truth >= -1e-9)


def _holds(verdict: Verdict, truth: float) -> bool:
    return verdict.interval[0] <= truth <= verdict.interval[1]


def _width(verdict: Verdict) -> float:
    return verdict.interval[1] - verdict.interval[0]
