"""From effects and intervals to words: helps, hurts, fights, or what is short of saying so.

A verdict and its picture use one and the same interval, that of all effects together (`recipes/ablation/effects.py`).
*Practically nothing* is claimed, not concluded from a lack of evidence: the 90 % interval lies inside the margin (two
one-sided tests, Schuirmann 1987). *Identical* is not estimated: the predictions are the same in every pair of runs that
differ in nothing else. Where runs that differ in one factor only make an exact test of signs possible (Fisher 1935) and
it disagrees, there is no evidence.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.effects import Block, Estimates, estimate, present

HELPS, HURTS, NOTHING, IDENTICAL = "helps", "hurts", "practically nothing", "identical"
TOGETHER, FIGHTS, ADDS_UP, INSEPARABLE = "helps together", "fights", "adds up", "not separable in this design"
NO_EVIDENCE = "no evidence"
# Why there is nothing to be seen at all.
LOST = "too few of the runs that tell it have finished"
UNTOLD = "these arms do not tell it"
BEYOND = 100
"""What would take so many times the seeds or rows is not advised."""
FLIPS = 10_000


@dataclass(frozen=True)
class Verdict:
    """What is said of an effect."""

    effect: Effect
    word: str
    why: str = ""
    """What is short, or what disagrees."""
    value: float = 0.0
    outer: tuple[float, float] = (0.0, 0.0)
    """The interval that holds for all effects together."""
    inner: tuple[float, float] = (0.0, 0.0)
    """The narrower one that a claim of nothing rests on."""

    @property
    def is_told(self) -> bool:
        """Whether there is a number behind the word."""
        return self.why not in (LOST, UNTOLD) and self.word != INSEPARABLE


def judge(
    design: Design, blocks: Sequence[Block], margin: float, level: float = 0.95, idle: Collection[Effect] = ()
) -> tuple[list[Verdict], list[Verdict]]:
    """Judge what single levels do, and what pairs do beyond their sum.

    Args:
        design: the arms.
        blocks: the runs, a block for each data set.
        margin: effects smaller than this are not worth having, in the metric's unit.
        level: how often the intervals of one family hold all at once.
        idle: single levels that other runs than these have shown to change nothing.

    Raises:
        UserError: there is nothing to measure chance by.
    """
    there, planned = present(design, blocks), design.contrasts()
    same = {effect for effect in design.mains if effect in idle or identical(there, design, blocks, effect)}
    singles, pairs = estimate(design, blocks, same)
    found = {
        verdict.effect: verdict
        for family in (singles, pairs)
        for verdict in _judged(family, design, blocks, margin, level)
    }

    def said(effect: Effect) -> Verdict:
        if effect in found:
            return found[effect]
        if effect in same:
            return Verdict(effect, IDENTICAL)
        if any(Effect((place,)) in same for place in effect.places):
            return Verdict(effect, ADDS_UP, "one of them changes nothing")
        if effect in planned:
            return Verdict(effect, NO_EVIDENCE, LOST)
        return Verdict(effect, INSEPARABLE) if len(effect.places) == 2 else Verdict(effect, NO_EVIDENCE, UNTOLD)

    return [said(effect) for effect in design.mains], [said(pair) for pair in design.pairs]


def _judged(
    family: Estimates, design: Design, blocks: Sequence[Block], margin: float, level: float
) -> Iterator[Verdict]:
    if not family.effects:
        return
    outer, inner = family.together(level, 1 - 2 * (1 - level))
    for place, effect in enumerate(family.effects):
        value, low, high = float(family.values[place]), float(outer[0][place]), float(outer[1][place])
        least, most = float(inner[0][place]), float(inner[1][place])
        single = len(effect.places) == 1
        by_signs = sign_test(design, blocks, effect, level) if single else None
        word, why = NO_EVIDENCE, ""
        if low == high:
            why = "no run and no row tells the arms apart"
        elif -margin <= least and most <= margin:
            word = NOTHING if single else ADDS_UP
        elif low <= 0 <= high:
            why = _short(family, place, (high - low) / 2, margin, blocks)
        elif by_signs is not None and by_signs > 1 - level:
            why = f"the interval is clear of 0, but a test by signs alone is not (p = {by_signs:.3f})"
        else:
            word = (HELPS if value > 0 else HURTS) if single else (TOGETHER if value > 0 else FIGHTS)
        yield Verdict(effect, word, why, value, (low, high), (least, most))


def _short(family: Estimates, place: int, half: float, margin: float, blocks: Sequence[Block]) -> str:
    """How many seeds or labelled rows would settle it, if it is as large as it looks now."""
    value = abs(float(family.values[place]))
    runs, rows = float(family.run_variance[place]), float(family.row_variance[place])
    # Clear of 0 or inside the margin, whichever is nearer; told in the width that the interval has.
    room = max(value, margin - value) ** 2 * (runs + rows) / half**2
    if room == 0:
        return "it is as near to nothing as to the margin"
    times_seeds, times_rows = runs / (room / 2), rows / (room / 2)
    if rows <= room / 2:
        times_seeds, times_rows = runs / (room - rows), 1.0
    elif runs <= room / 2:
        times_seeds, times_rows = 1.0, rows / (room - runs)
    if max(times_seeds, times_rows) > BEYOND:
        return f"if it is as large as it looks, it takes over {BEYOND} times the seeds or labelled rows to settle it"
    seeds = max(len(np.unique(block.seeds)) for block in blocks)
    said = [f"about {ceil(times_seeds * seeds)} seeds instead of {seeds}"] if times_seeds > 1 else []
    said += [f"{times_rows:.2g} times the labelled validation rows"] if times_rows > 1 else []
    return f"if it is as large as it looks, {' and '.join(said) or 'one more seed'} would settle it"


def identical(there: Design, design: Design, blocks: Sequence[Block], effect: Effect) -> bool:
    """Whether a level's runs predict what the same runs at level 0 do, to the last digit, on every data set.

    Where no two arms differ in this factor alone, only if all runs of a seed do.
    """
    ((factor, level),) = effect.places
    if not {0, level} <= {arm[factor] for arm in there.arms}:
        return False
    return all(_alike(design, block, factor, level) for block in blocks)


def _alike(design: Design, block: Block, factor: int, level: int) -> bool:
    twins = list(_twins(design, block, factor, level))
    if twins:
        return all(block.fingerprints[one] == block.fingerprints[other] for one, other, _ in twins)
    return len(set(zip(block.seeds.tolist(), block.fingerprints, strict=True))) == len(set(block.seeds.tolist()))


def sign_test(design: Design, blocks: Sequence[Block], effect: Effect, level: float) -> float | None:
    """How often signs drawn by chance give seeds as large a mean difference between runs that differ in this alone.

    None where one seed of the other sign would be enough to call it chance: such a test would veto what is clear.
    """
    ((factor, number),) = effect.places
    differences = []
    for block in blocks:
        scores = block.rows.mean(1)
        twins = list(_twins(design, block, factor, number))
        for seed in sorted({seed for *_, seed in twins}):
            own = [scores[one] - scores[other] for one, other, their in twins if their == seed]
            differences.append(float(np.mean(own)))
    count = len(differences)
    if 2.0 ** (2 - count) > 1 - level:
        return None
    if count <= 12:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        # The differences as they are count as one of the draws.
        signs = np.vstack([np.ones(count), np.random.default_rng(0).choice([-1, 1], (FLIPS - 1, count))])
    # What differs by rounding alone counts as equal.
    return float((np.abs(signs @ differences) >= abs(sum(differences)) * (1 - 1e-9)).mean())


def _twins(design: Design, block: Block, factor: int, level: int) -> Iterator[tuple[int, int, int]]:
    """Runs of one seed that differ in this factor alone: one at the level, one at 0, and their seed."""
    places: dict[tuple[Arm, int], int] = {
        (design.arms[arm], seed): run
        for run, (arm, seed) in enumerate(zip(block.arms.tolist(), block.seeds.tolist(), strict=True))
    }
    for (arm, seed), run in places.items():
        other = places.get(((*arm[:factor], 0, *arm[factor + 1 :]), seed))
        if arm[factor] == level and other is not None:
            yield run, other, seed
