"""Studies in which runs collapse: how often the intervals of the other effects hold, and how often there is a verdict.

A run collapses by chance, more often at a level that breaks training. Then it answers the majority class, so it is
right on the rows of that class. The truth of an arm is its mean score, collapsed runs included. The rules are those of
`recipes/ablation/failures.py`, and an effect is compared with its mean over the arms that remain. A second table counts
how often a level is called breaking where all arms are alike, at any look of a study.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import Block, estimate
from recipes.ablation.failures import find_breaking, find_doubted, is_mostly_broken, leave_out
from recipes.ablation.verdicts import HELPS, HURTS, judge
from recipes.errors import UserError
from recipes.reports.tables import markdown_table
from scripts.calibrate import MAJORITY, MARGIN, WORLDS, World, accuracy, designs, format_fraction, simulate_study

LEVEL = 0.95
FIRST = 0
"""The trick that breaks training, where one does."""


@dataclass(frozen=True)
class Failures:
    """How often a run collapses."""

    base: float = 0.0
    """In every arm."""
    breaking: float = 0.0
    """Where the first trick is on, in addition."""

    def fractions(self, arms: Sequence[Arm]) -> np.ndarray:
        """The probability that a run of each arm collapses, (arm)."""
        is_on = np.array(arms)[:, FIRST]
        return np.asarray(1 - (1 - self.base) * (1 - self.breaking * is_on))


FAILURES: Mapping[str, Failures] = {
    "no run collapses": Failures(),
    "a level breaks 100 %": Failures(breaking=1.0),
    "a level breaks 60 %": Failures(breaking=0.6),
    "the base fails in 10 %": Failures(base=0.1),
    "the base fails in 30 %": Failures(base=0.3),
    "10 %, and a level breaks 60 %": Failures(base=0.1, breaking=0.6),
}
CASES = (
    *(("auto", "as seen", name) for name in FAILURES),
    *(("auto", "with effects", name) for name in list(FAILURES)[1:]),
    *(("one_at_a_time", "as seen", name) for name in FAILURES),
    *(("full", "as seen", name) for name in FAILURES),
    *(("one trick", "as seen", name) for name in FAILURES),
)
"""How the name of the design begins, the world, and the failures."""
ONE_ANALYSIS, ROUNDS = (3,), (3, 4, 5, 6, 8, 10)
RATES = (0.05, 0.1, 0.2, 0.3)
"""Fractions of the runs that collapse in every arm."""
LEVEL_CASES = (
    ("auto, 8 tricks, 16 arms", "auto", 8, ONE_ANALYSIS),
    ("auto, 8 tricks, 16 arms", "auto", 8, ROUNDS),
    ("one_at_a_time, 9 arms", "one_at_a_time", 8, ONE_ANALYSIS),
    ("one_at_a_time, 9 arms", "one_at_a_time", 8, (5,)),
    ("one_at_a_time, 9 arms", "one_at_a_time", 8, ROUNDS),
    ("one_at_a_time, 5 arms", "one_at_a_time", 4, ONE_ANALYSIS),
    ("one_at_a_time, 5 arms", "one_at_a_time", 4, ROUNDS),
)
"""The name of the design, its kind, the number of tricks, and the seeds at each look."""


@dataclass(frozen=True)
class Outcome:
    """What one study says."""

    has_verdict: bool = False
    holds: Sequence[bool] = ()
    """Whether the interval of each effect with an estimate, each on its own, has the truth."""
    all_hold: bool = True
    """Whether those that hold at once do."""
    widths: Sequence[float] = ()
    is_false: bool = False
    """Whether a trick is said to help or to hurt that does not."""
    is_false_help: bool = False
    finds_level: bool = False
    """Whether the level that breaks training is said to."""
    finds_others: bool = False
    """Whether another level is."""
    doubted: float = 0.0
    """The fraction of the effects without a verdict for lack of seeds."""


def simulate(world: World, failures: Failures, design: Design, seeds: int, random: np.random.Generator) -> Outcome:
    """Simulate a study, and judge it."""
    (block,) = simulate_study(world, design.arms, seeds, random)
    fractions = failures.fractions(design.arms)
    is_broken = random.random(len(block.arms)) < fractions[block.arms]
    # A collapsed run is right on the rows of the majority class, the same ones for all runs.
    is_of_majority = (np.arange(block.rows.shape[1]) < MAJORITY * block.rows.shape[1]).astype(float)
    # Probabilities differ, so no two collapsed runs predict the same.
    fingerprints = [
        f"collapsed {run}" if is_broken[run] else fingerprint for run, fingerprint in enumerate(block.fingerprints)
    ]
    block = replace(block, rows=np.where(is_broken[:, None], is_of_majority, block.rows), fingerprints=fingerprints)
    arms = [design.arms[arm] for arm in block.arms.tolist()]
    of_base = [bool(broken) for arm, broken in zip(arms, is_broken, strict=True) if not any(arm)]
    if is_mostly_broken(sum(of_base), len(of_base)):
        return Outcome()
    outcomes = list(zip(arms, is_broken.tolist(), strict=True))
    breaking = find_breaking(design, outcomes)
    levels = {each.effect.terms[0][0] for each in breaking}
    remaining = leave_out(design, breaking)
    doubted = [each.effect for each in find_doubted(remaining, outcomes)]
    scores = _true_scores(world, failures, remaining)
    try:
        outcome = _judge(remaining, _select(block, design, remaining), scores, doubted)
    except UserError:  # the runs that remain leave nothing to measure chance by
        return Outcome()
    planted = {FIRST} if failures.breaking else set()
    return replace(outcome, finds_level=bool(levels & planted), finds_others=bool(levels - planted))


def _true_scores(world: World, failures: Failures, design: Design) -> np.ndarray:
    """The mean score of each arm, collapsed runs included, (arm)."""
    fractions = failures.fractions(design.arms)
    return np.asarray((1 - fractions) * accuracy(world, design.arms) + fractions * MAJORITY)


def _select(block: Block, design: Design, remaining: Design) -> Block:
    """The runs of the arms that remain."""
    numbers = {arm: number for number, arm in enumerate(remaining.arms)}
    renumbered = np.array([numbers.get(design.arms[arm], -1) for arm in block.arms.tolist()])
    runs = np.flatnonzero(renumbered >= 0)
    return replace(
        block,
        arms=renumbered[runs],
        seeds=block.seeds[runs],
        rows=block.rows[runs],
        fingerprints=[block.fingerprints[run] for run in runs.tolist()],
    )


def _judge(design: Design, block: Block, scores: np.ndarray, doubted: Sequence[Effect]) -> Outcome:
    """Compare the verdicts and the intervals with the truth.

    Args:
        design: the arms that remain.
        block: their runs.
        scores: the true mean score of each arm.
        doubted: effects without a verdict.
    """
    family, _ = estimate(design, [block])
    if not family.effects:
        return Outcome()
    contrasts = design.contrasts()
    truth = {effect: float(contrasts[effect] @ scores) for effect in family.effects}
    true = np.array(list(truth.values()))
    low, high = family.interval(LEVEL)
    has_own_verdict = np.array([effect not in doubted for effect in family.effects])
    verdicts = [
        verdict
        for verdict in judge(design, [block], MARGIN)[0]
        if verdict.effect in truth and verdict.effect not in doubted
    ]
    false_help = any(verdict.word == HELPS and truth[verdict.effect] <= 1e-9 for verdict in verdicts)
    false_hurt = any(verdict.word == HURTS and truth[verdict.effect] >= -1e-9 for verdict in verdicts)
    return Outcome(
        has_verdict=True,
        holds=((low <= true) & (true <= high))[has_own_verdict].tolist(),
        all_hold=all(verdict.interval[0] <= truth[verdict.effect] <= verdict.interval[1] for verdict in verdicts),
        widths=[verdict.interval[1] - verdict.interval[0] for verdict in verdicts],
        is_false=false_help or false_hurt,
        is_false_help=false_help,
        doubted=float(np.mean(~has_own_verdict)),
    )


def count(studies: int, numbered: tuple[int, tuple[str, str, str]]) -> list[str]:
    """Simulate the studies of one line, and format its cells."""
    number, (kind, world, failures) = numbered
    design, seeds = next(each for name, each in designs().items() if name.startswith(kind))
    random = np.random.default_rng(number)
    outcomes = [simulate(WORLDS[world], FAILURES[failures], design, seeds, random) for _ in range(studies)]
    judged = [outcome for outcome in outcomes if outcome.holds]
    is_planted = FAILURES[failures].breaking > 0
    widths = [width for outcome in judged for width in outcome.widths]
    return [
        format_fraction(np.array([np.mean(outcome.holds) for outcome in judged])) if judged else "",
        format_fraction(np.array([outcome.all_hold for outcome in judged])) if judged else "",
        f"{np.median(widths):.4f}" if judged else "",
        format_fraction(np.array([outcome.is_false_help for outcome in outcomes])),
        format_fraction(np.array([outcome.is_false for outcome in outcomes])),
        format_fraction(np.array([not outcome.has_verdict for outcome in outcomes])),
        format_fraction(np.array([outcome.doubted for outcome in outcomes if outcome.has_verdict] or [0.0])),
        format_fraction(np.array([outcome.finds_level for outcome in outcomes])) if is_planted else "",
        format_fraction(np.array([outcome.finds_others for outcome in outcomes])),
    ]


def count_false_breaks(studies: int, numbered: tuple[int, tuple[str, str, int, Sequence[int]]]) -> list[str]:
    """Count the studies that call a level breaking at any look, at each rate of collapsing runs."""
    number, (_, kind, tricks, analyses) = numbered
    design = choose((2,) * tricks, lambda arm: True, kind, 33)
    random = np.random.default_rng(number)
    cells = []
    for rate in RATES:
        is_broken = random.random((studies, analyses[-1], len(design.arms))) < rate
        cells.append(format_fraction(np.array([_calls_any_breaking(design, analyses, each) for each in is_broken])))
    return cells


def _calls_any_breaking(design: Design, analyses: Sequence[int], is_broken: np.ndarray) -> bool:
    """Whether a level is called breaking, given which runs are broken, (seed, arm)."""
    base = [index for index, arm in enumerate(design.arms) if not any(arm)]
    for analysis, seeds in enumerate(analyses, 1):
        if is_mostly_broken(int(is_broken[:seeds, base].sum()), seeds * len(base)):
            return False
        outcomes = [
            (arm, bool(broken)) for row in is_broken[:seeds] for arm, broken in zip(design.arms, row, strict=True)
        ]
        if find_breaking(design, outcomes, analysis):
            return True
    return False


def describe(studies: int, processes: int) -> Iterator[str]:
    """Describe how often the intervals hold where runs collapse, in lines of Markdown.

    Args:
        studies: number of simulated studies a line.
        processes: number of processes that share them.
    """
    yield f"Runs that collapse, {studies:,} studies a line"
    with ProcessPoolExecutor(processes) as pool:
        cells = list(pool.map(partial(count, studies), enumerate(CASES)))
    names = [f"{kind}; {world}; {failures}" for kind, world, failures in CASES]
    header = [
        "design; world; failures",
        "each interval",
        "all at once",
        "median width",
        "a false helps",
        "a false helps or hurts",
        "no verdict",
        "cannot tell",
        "the level is found",
        "another level is called breaking",
    ]
    yield markdown_table(header, [[name, *row] for name, row in zip(names, cells, strict=True)])
    yield ""
    yield f"Studies that call any level breaking, though all arms are alike, {studies:,} studies a cell"
    with ProcessPoolExecutor(processes) as pool:
        cells = list(pool.map(partial(count_false_breaks, studies), enumerate(LEVEL_CASES)))
    names = [f"{name}; looks at {', '.join(map(str, analyses))} seeds" for name, _, _, analyses in LEVEL_CASES]
    header = ["design; runs that collapse", *(f"{rate:.0%}" for rate in RATES)]
    yield markdown_table(header, [[name, *row] for name, row in zip(names, cells, strict=True)])
