"""Seeds in rounds: who looks several times and stops when it is clear must not be fooled more often for it.

Each look has its own share of the 5 %, so that all looks together stay within it whatever decides when to stop: a
spending function (Kim and DeMets 1987, the square of the share of seeds that are there), each look paying for itself
alone (Bonferroni), which needs no assumption on how looks hang together. A clear verdict is not looked at again.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.verdicts import NO_EVIDENCE, Verdict

MOST_LOOKS = 5


def looks(first: int, most: int) -> list[int]:
    """How many seeds there are at each look, five looks at most."""
    found = np.unique(np.linspace(first, max(first, most), MOST_LOOKS).round().astype(int))
    return [int(seeds) for seeds in found]


def level_at(look: int, seeds: Sequence[int], level: float = 0.95) -> float:
    """How sure the intervals of one look are, so that those of all looks hold together at `level`."""
    spent = [(count / seeds[-1]) ** 2 for count in seeds]
    return 1 - (1 - level) * (spent[look] - (spent[look - 1] if look else 0))


def kept(earlier: Mapping[Effect, Verdict], now: Iterable[Verdict]) -> dict[Effect, Verdict]:
    """The verdicts after a look: what was clear stays as it was."""
    return {
        verdict.effect: held if (held := earlier.get(verdict.effect)) and clear(held) else verdict for verdict in now
    }


def clear(verdict: Verdict) -> bool:
    """Whether more seeds would settle nothing."""
    return verdict.word != NO_EVIDENCE


def still_open(design: Design, verdicts: Iterable[Verdict]) -> list[Arm]:
    """The arms whose next seeds an open verdict needs; none when all single effects are clear."""
    contrasts = design.contrasts()
    needed = [contrasts[verdict.effect] != 0 for verdict in verdicts if verdict.is_told and not clear(verdict)]
    chosen = np.any(needed, axis=0) if needed else np.zeros(len(design.arms), bool)
    return [arm for arm, wanted in zip(design.arms, chosen, strict=True) if wanted]
