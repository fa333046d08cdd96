"""Seeds in rounds: looking at the results repeatedly must not make false verdicts more likely.

Each look spends its own part of the 5 % error, so that all looks together stay within it, whenever the study stops. The
part is an alpha-spending function (Kim and DeMets 1987): the square of the fraction of seeds that are finished. Each
look pays for itself alone (Bonferroni), so no assumption on the correlation between looks is needed. A clear verdict is
final.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.verdicts import NO_EVIDENCE, Verdict

MAX_ANALYSES = 5


def schedule_analyses(first: int, most: int) -> list[int]:
    """Return the number of seeds at each look, at most five looks.

    Args:
        first: seeds at the first look.
        most: seeds at the last.
    """
    counts = np.unique(np.linspace(first, max(first, most), MAX_ANALYSES).round().astype(int))
    return [int(seeds) for seeds in counts]


def confidence_at(analysis: int, seeds: Sequence[int], level: float = 0.95) -> float:
    """Return the confidence level of one interim analysis, so that the intervals of all hold together at `level`.

    Args:
        analysis: its index.
        seeds: number of seeds at each analysis.
        level: the confidence level of all analyses together.
    """
    spent = [(count / seeds[-1]) ** 2 for count in seeds]
    return 1 - (1 - level) * (spent[analysis] - (spent[analysis - 1] if analysis else 0))


def merge_verdicts(previous: Mapping[Effect, Verdict], new: Iterable[Verdict]) -> dict[Effect, Verdict]:
    """Merge the verdicts of a look into the previous ones: clear verdicts stay as they were."""
    merged = {}
    for verdict in new:
        before = previous.get(verdict.effect)
        merged[verdict.effect] = before if before and is_clear(before) else verdict
    return merged


def is_clear(verdict: Verdict) -> bool:
    """Whether a verdict is final."""
    return verdict.word != NO_EVIDENCE


def find_open_arms(design: Design, verdicts: Iterable[Verdict]) -> list[Arm]:
    """Find the arms that need more seeds for a verdict that is not clear; none if all main effects are clear."""
    contrasts = design.contrasts()
    uses_arm = [
        contrasts[verdict.effect] != 0 for verdict in verdicts if verdict.has_estimate and not is_clear(verdict)
    ]
    is_open = np.any(uses_arm, axis=0) if uses_arm else np.zeros(len(design.arms), bool)
    return [arm for arm, needed in zip(design.arms, is_open, strict=True) if needed]
