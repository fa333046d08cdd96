"""From effects and intervals to verdicts: helps, hurts, fights, or how much more data a verdict would need.

- A verdict and its picture use the same interval, which holds for all effects at once (`recipes/ablation/effects.py`).
- *Practically nothing* is shown, not concluded from a lack of evidence: the 90 % interval lies inside the margin (two
  one-sided tests, Schuirmann 1987).
- *Identical* is not estimated: the predictions are equal in every pair of runs that differ in this level only.
- Where runs that differ in one factor only allow an exact sign test (Fisher 1935), it must agree with the interval.
  Otherwise there is no evidence.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.effects import Block, Estimates, estimate, restrict_to_finished

HELPS, HURTS, NOTHING, IDENTICAL = "helps", "hurts", "practically nothing", "identical"
TOGETHER, FIGHTS, ADDS_UP, INSEPARABLE = "helps together", "fights", "adds up", "not separable in this design"
NO_EVIDENCE = "no evidence"
NO_VERDICT = "no verdict"
# Reasons why there is no estimate.
RUNS_MISSING = "too few of its runs have finished"
NOT_ESTIMABLE = "these arms cannot estimate it"
RUNS_LEFT_OUT = "all of its runs are left out"
LOST = "lost with the runs of a level that breaks training"
NOT_LEARNED = "the base did not learn"
DOUBTED = "more seeds would tell whether it breaks training"
NO_ESTIMATE = (RUNS_MISSING, NOT_ESTIMABLE, RUNS_LEFT_OUT, LOST, NOT_LEARNED, DOUBTED)
ONE_IDENTICAL = "one of them changes nothing"
MAX_TIMES = 100
"""A suggestion never exceeds this multiple of the seeds or rows."""
SIGN_DRAWS = 10_000


@dataclass(frozen=True)
class Verdict:
    """The verdict on an effect."""

    effect: Effect
    word: str
    why: str = ""
    """How much data is missing, or which tests disagree."""
    value: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    """Holds for all effects of the family at once."""
    equivalence_interval: tuple[float, float] = (0.0, 0.0)
    """The narrower interval behind *practically nothing*."""

    @property
    def has_estimate(self) -> bool:
        """Whether the verdict has a value and an interval."""
        return self.why not in NO_ESTIMATE and self.word != INSEPARABLE


def judge(
    design: Design, blocks: Sequence[Block], margin: float, level: float = 0.95, idle: Collection[Effect] = ()
) -> tuple[list[Verdict], list[Verdict]]:
    """Judge the main effects, and the pairs beyond the sum of their two levels.

    Args:
        design: the arms.
        blocks: the runs, a block for each data set.
        margin: effects smaller than this do not matter, in the metric's unit.
        level: the confidence level of the intervals of one family, all at once.
        idle: main effects that other runs have shown to change nothing.

    Returns:
        The verdicts on main effects and on pairs.

    Raises:
        UserError: the runs leave no degrees of freedom for the noise.
    """
    planned = design.contrasts()
    identical = find_identical(design, blocks, idle)
    mains, pairs = estimate(design, blocks, identical)
    estimated = {
        verdict.effect: verdict
        for family in (mains, pairs)
        for verdict in _judge_family(family, design, blocks, margin, level)
    }

    def find_verdict(effect: Effect) -> Verdict:
        if effect in estimated:
            return estimated[effect]
        if effect in identical:
            return Verdict(effect, IDENTICAL)
        if any(Effect((term,)) in identical for term in effect.terms):
            return Verdict(effect, ADDS_UP, ONE_IDENTICAL)
        if effect in planned:
            return Verdict(effect, NO_EVIDENCE, RUNS_MISSING)
        is_pair = len(effect.terms) == 2
        return Verdict(effect, INSEPARABLE) if is_pair else Verdict(effect, NO_EVIDENCE, NOT_ESTIMABLE)

    return [find_verdict(effect) for effect in design.mains], [find_verdict(pair) for pair in design.pairs]


def _judge_family(
    family: Estimates, design: Design, blocks: Sequence[Block], margin: float, level: float
) -> Iterator[Verdict]:
    if not family.effects:
        return
    # Two one-sided tests at 5 % correspond to a 90 % interval.
    intervals, equivalence_intervals = family.simultaneous_intervals(level, 1 - 2 * (1 - level))
    for index, effect in enumerate(family.effects):
        value, low, high = float(family.values[index]), float(intervals[0][index]), float(intervals[1][index])
        least, most = float(equivalence_intervals[0][index]), float(equivalence_intervals[1][index])
        is_main = len(effect.terms) == 1
        sign_p_value = sign_test(design, blocks, effect, level) if is_main else None
        word, why = NO_EVIDENCE, ""
        if low == high:
            why = "no run and no row differs between the arms"
        elif -margin <= least and most <= margin:
            word = NOTHING if is_main else ADDS_UP
        elif low <= 0 <= high:
            why = _explain_shortage(family, index, (high - low) / 2, margin, blocks)
        elif sign_p_value is not None and sign_p_value > 1 - level:
            why = f"the interval excludes 0, but a sign test disagrees (p = {sign_p_value:.3f})"
        else:
            word = (HELPS if value > 0 else HURTS) if is_main else (TOGETHER if value > 0 else FIGHTS)
        yield Verdict(effect, word, why, value, (low, high), (least, most))


def _explain_shortage(family: Estimates, index: int, half: float, margin: float, blocks: Sequence[Block]) -> str:
    """Explain how many seeds or labelled rows a clear verdict would take, if the effect is as large as estimated.

    Args:
        family: the estimates.
        index: of the effect among them.
        half: half the width of its interval.
        margin: effects smaller than this do not matter.
        blocks: the runs.
    """
    value = abs(float(family.values[index]))
    run_variance, row_variance = float(family.run_variance[index]), float(family.row_variance[index])
    # The interval must exclude 0 or lie inside the margin, whichever is nearer. Its half width is proportional to the
    # standard error, which gives the largest variance that is small enough.
    target = max(value, margin - value) ** 2 * (run_variance + row_variance) / half**2
    if target == 0:
        return "it is as near to 0 as to the margin"
    # Half of the target for each variance, unless one of them is already below that.
    times_seeds, times_rows = run_variance / (target / 2), row_variance / (target / 2)
    if row_variance <= target / 2:
        times_seeds, times_rows = run_variance / (target - row_variance), 1.0
    elif run_variance <= target / 2:
        times_seeds, times_rows = 1.0, row_variance / (target - run_variance)
    if max(times_seeds, times_rows) > MAX_TIMES:
        return f"if it is as large as it looks, it takes over {MAX_TIMES} times the seeds or labelled rows to settle it"
    seeds = max(int(np.bincount(block.arms).max()) for block in blocks)
    needed = [f"about {ceil(times_seeds * seeds)} seeds instead of {seeds}"] if times_seeds > 1 else []
    needed += [f"{times_rows:.2g} times the labelled validation rows"] if times_rows > 1 else []
    return f"if it is as large as it looks, {' and '.join(needed) or 'one more seed'} would settle it"


def find_identical(design: Design, blocks: Sequence[Block], idle: Collection[Effect] = ()) -> set[Effect]:
    """Find the main effects that change nothing.

    Args:
        design: the arms.
        blocks: the runs, a block for each data set.
        idle: main effects that other runs have shown to change nothing.
    """
    finished = restrict_to_finished(design, blocks)
    return {effect for effect in design.mains if effect in idle or is_identical(finished, design, blocks, effect)}


def is_identical(finished: Design, design: Design, blocks: Sequence[Block], effect: Effect) -> bool:
    """Whether a level's runs predict the same as the same runs at level 0, on every data set.

    Where no two arms differ in this factor only, all runs of a seed must predict the same.
    """
    ((factor, level),) = effect.terms
    if not {0, level} <= {arm[factor] for arm in finished.arms}:
        return False
    return all(_is_identical_on(block, design, factor, level) for block in blocks)


def _is_identical_on(block: Block, design: Design, factor: int, level: int) -> bool:
    twins = list(_find_twins(design, block, factor, level))
    if twins:
        return all(block.fingerprints[one] == block.fingerprints[other] for one, other, _ in twins)
    seeds = block.seeds.tolist()
    return len(set(zip(seeds, block.fingerprints, strict=True))) == len(set(seeds))


def sign_test(design: Design, blocks: Sequence[Block], effect: Effect, level: float) -> float | None:
    """Test by random signs whether the mean difference between runs that differ in this level only is chance.

    Returns:
        The p value: how often random signs give at least as large a mean difference over seeds. None with so few seeds
        that a single seed of the other sign would make it insignificant.
    """
    ((factor, number),) = effect.terms
    differences = []
    for block in blocks:
        scores = block.scores
        twins = list(_find_twins(design, block, factor, number))
        # Twins next to different other tricks are averaged: an interaction between tricks is not noise.
        for seed in sorted({seed for *_, seed in twins}):
            of_seed = [scores[one] - scores[other] for one, other, twin_seed in twins if twin_seed == seed]
            differences.append(float(np.mean(of_seed)))
    count = len(differences)
    if 2.0 ** (2 - count) > 1 - level:
        return None
    if count <= 12:
        # All combinations of signs, from the bits of the numbers below 2^count.
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        # The observed signs count as one of the draws.
        signs = np.vstack([np.ones(count), np.random.default_rng(0).choice([-1, 1], (SIGN_DRAWS - 1, count))])
    # Sums that differ by rounding only count as equal.
    return float((np.abs(signs @ differences) >= abs(sum(differences)) * (1 - 1e-9)).mean())


def _find_twins(design: Design, block: Block, factor: int, level: int) -> Iterator[tuple[int, int, int]]:
    """Find runs of one seed that differ in this factor only: the run at the level, the run at 0, and their seed."""
    runs: dict[tuple[Arm, int], int] = {
        (design.arms[arm], seed): run
        for run, (arm, seed) in enumerate(zip(block.arms.tolist(), block.seeds.tolist(), strict=True))
    }
    for (arm, seed), run in runs.items():
        other = runs.get(((*arm[:factor], 0, *arm[factor + 1 :]), seed))
        if arm[factor] == level and other is not None:
            yield run, other, seed
