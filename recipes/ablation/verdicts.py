"""From effects and intervals to words: helps, hurts, fights, or what is short of saying so.

A verdict and its picture use one and the same interval, that of all effects together (`recipes/ablation/effects.py`).
*Practically nothing* is claimed, not concluded from a lack of evidence: the 90 % interval lies inside the margin (two
one-sided tests, Schuirmann 1987). *Identical* is not estimated: the predictions are the same in every pair of runs that
differ in nothing else. Where runs that differ in one factor only make an exact test of signs possible (Fisher 1935) and
it disagrees, there is no evidence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from recipes.ablation.design import Design, Effect
from recipes.ablation.effects import Block, Estimates, estimate

IDENTICAL, NOTHING, NO_EVIDENCE = "identical", "practically nothing", "no evidence"
HELPS, HURTS = "helps", "hurts"
ADDS_UP, TOGETHER, FIGHTS, INSEPARABLE = "adds up", "helps together", "fights", "not separable in this design"
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
    sign_test: float | None = None
    """Probability of such a difference by signs alone, where it could have been small enough."""


def judge(
    design: Design, blocks: Sequence[Block], margin: float, level: float = 0.95
) -> tuple[list[Verdict], list[Verdict]]:
    """Judge what single levels do, and what pairs do beyond their sum.

    Args:
        design: the arms.
        blocks: the runs, a block for each data set.
        margin: effects smaller than this are not worth having, in the metric's unit.
        level: how often the intervals of one family hold all at once.

    Raises:
        UserError: there is nothing to measure chance by.
    """
    same = {effect for effect in design.mains if identical(design, blocks, effect)}
    singles, pairs = estimate(design, blocks, same)
    judged = {verdict.effect: verdict for verdict in _judged(singles, design, blocks, margin, level)}
    mains = [Verdict(effect, IDENTICAL) if effect in same else judged.get(effect) or Verdict(effect, NO_EVIDENCE, LOST)
             for effect in design.mains]  # fmt: skip
    beyond = {verdict.effect: verdict for verdict in _judged(pairs, design, blocks, margin, level)}
    both = [
        Verdict(pair, ADDS_UP, "one of them changes nothing")
        if any(Effect((place,)) in same for place in pair.places)
        else beyond.get(pair) or Verdict(pair, INSEPARABLE)
        for pair in design.pairs
    ]
    return mains, both


LOST = "too few of the runs that tell it have finished"


def _judged(
    family: Estimates, design: Design, blocks: Sequence[Block], margin: float, level: float
) -> Iterator[Verdict]:
    if not family.effects:
        return
    outer, inner = family.together(level), family.together(1 - 2 * (1 - level))
    for place, effect in enumerate(family.effects):
        value, low, high = float(family.values[place]), float(outer[0][place]), float(outer[1][place])
        least, most = float(inner[0][place]), float(inner[1][place])
        one = len(effect.places) == 1
        by_signs = sign_test(design, blocks, effect) if one else None
        why = ""
        if -margin <= least and most <= margin:
            word = NOTHING if one else ADDS_UP
        elif low <= 0 <= high:
            word, why = NO_EVIDENCE, _short(family, place, (high - low) / 2, margin, blocks)
        elif by_signs is not None and by_signs > 1 - level:
            word, why = NO_EVIDENCE, f"the intervals are clear, the test of signs is not (p = {by_signs:.3f})"
        elif one:
            word = HELPS if value > 0 else HURTS
        else:
            word = TOGETHER if value > 0 else FIGHTS
        yield Verdict(effect, word, why, value, (low, high), (least, most), by_signs)


def _short(family: Estimates, place: int, half: float, margin: float, blocks: Sequence[Block]) -> str:
    """How many seeds or labelled rows would settle it, if it is as large as it looks now."""
    value = abs(float(family.values[place]))
    runs, rows = float(family.run_variance[place]), float(family.row_variance[place])
    scale = half**2 / (runs + rows)
    runs, rows = runs * scale, rows * scale
    # Clear of 0 or inside the margin, whichever is nearer; each kind of chance may take half of that.
    room = max(value, margin - value) ** 2
    seeds = max(len(np.unique(block.seeds)) for block in blocks)
    labelled = min(block.rows.shape[1] for block in blocks)
    more_seeds, more_rows = seeds * runs / (room / 2), labelled * rows / (room / 2)
    if rows <= room / 2:
        more_seeds, more_rows = seeds * runs / (room - rows), 0
    elif runs <= room / 2:
        more_seeds, more_rows = 0, labelled * rows / (room - runs)
    said = [f"about {ceil(more_seeds):,} seeds instead of {seeds}"] if more_seeds > seeds else []
    if more_rows > labelled:
        said.append(f"about {ceil(more_rows):,} labelled validation rows instead of {labelled:,}")
    return f"if it is as large as it looks, {' and '.join(said) or 'one more seed'} would settle it"


def identical(design: Design, blocks: Sequence[Block], effect: Effect) -> bool:
    """Whether a level's runs predict what the same runs at level 0 do, to the last digit.

    Where no two arms differ in this factor alone, only if all runs of a seed do.
    """
    ((factor, level),) = effect.places
    twins = 0
    for block in blocks:
        for one, other in _twins(design, block, factor, level):
            twins += 1
            if block.fingerprints[one] != block.fingerprints[other]:
                return False
    if twins:
        return True
    return all(
        len({block.fingerprints[run] for run in np.flatnonzero(block.seeds == seed).tolist()}) == 1
        for block in blocks
        for seed in np.unique(block.seeds)
    )


def sign_test(design: Design, blocks: Sequence[Block], effect: Effect) -> float | None:
    """How often signs drawn by chance give the runs that differ in this factor alone as large a mean difference.

    None where even equal signs everywhere would happen more often than once in 20 times.
    """
    ((factor, level),) = effect.places
    found, shares = [], []
    for block in blocks:
        scores = block.rows.mean(1)
        own = [scores[one] - scores[other] for one, other in _twins(design, block, factor, level)]
        found += own
        shares += [1 / len(own) for _ in own]
    count = len(found)
    if 2.0 ** (1 - count) > 0.05:
        return None
    weighed = np.array(found) * np.array(shares)
    if count <= 12:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], (FLIPS, count))
        signs[0] = 1
    # What differs by rounding alone counts as equal.
    return float((np.abs(signs @ weighed) >= abs(weighed.sum()) * (1 - 1e-9)).mean())


def _twins(design: Design, block: Block, factor: int, level: int) -> Iterator[tuple[int, int]]:
    """Runs of one seed that differ in this factor alone: one at the level, one at 0."""
    place = {(design.arms[arm], seed): run for run, (arm, seed) in enumerate(zip(block.arms, block.seeds, strict=True))}
    for (arm, seed), run in place.items():
        if arm[factor] == level:
            other = place.get(((*arm[:factor], 0, *arm[factor + 1 :]), seed))
            if other is not None:
                yield run, other
