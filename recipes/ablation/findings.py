"""What a study found: its verdicts by name, what each costs, and the arm that follows from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from operator import attrgetter
from statistics import mean

import numpy as np

from recipes.ablation.design import Arm, Design, Effect, columns
from recipes.ablation.factors import Space
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import FIGHTS, HELPS, TOGETHER, Verdict
from recipes.metrics import LOWER_IS_BETTER

COSTS = {"passes": "passes", "seconds": "time", "memory": "memory"}
"""What a run costs, by the field of its row, in a word."""


@dataclass(frozen=True)
class Findings:
    """All that is told of a study."""

    space: Space
    admissible: Callable[[Arm], bool]
    design: Design
    rows: Sequence[Row]
    mains: Sequence[Verdict]
    pairs: Sequence[Verdict]
    metric: str
    margin: float
    by_data: Mapping[str, Mapping[Effect, float]]
    """Each single effect on each data set."""
    doubts: Sequence[str] = ()
    """What makes arms unlike to be judged, in sentences."""
    searched: Sequence[str] = ()
    """The user's own config folders, as `hydra.searchpath` has them."""
    confirmed: Sequence[tuple[str, Verdict]] = ()
    """With fresh seeds, what is beside the recommended recipe, in words, and how it does compared with it."""
    tested: Mapping[str, Verdict] = field(default_factory=dict)
    """On the test split of each data set, the base compared with the recommended recipe."""
    opened: int = 0
    """For how many recommended recipes a test split has been opened by now."""

    def name(self, effect: Effect) -> str:
        """An effect in words: `mixup`, `ema × mixup`, `tricks.mixup.alpha=1.0`."""
        return self.space.effect(effect.places)

    @cached_property
    def costs(self) -> dict[Effect, dict[str, float]]:
        """How many times as much each level costs, by `COSTS`."""
        ratios = {what: self.ratios(attrgetter(what)) for what in COSTS}
        return {
            effect: {what: found[effect] for what, found in ratios.items() if effect in found}
            for effect in self.design.mains
        }

    def ratios(self, measured: Callable[[Row], float | None]) -> dict[Effect, float]:
        """How many times as much of something the runs with a level have, by the weights that its effect would have.

        Args:
            measured: what a run has of it; None where that is not known, and then the others must tell.
        """

        def logarithm(row: Row) -> float | None:
            amount = measured(row)
            return None if amount is None else float(np.log(amount))

        known = self._by_arm(logarithm)
        there = self.design.of(known)
        if not there.arms:
            return {}
        logarithms = np.array([known[arm] for arm in there.arms])
        contrasts = there.contrasts().items()
        return {effect: float(np.exp(weights @ logarithms)) for effect, weights in contrasts}

    def _by_arm(self, measured: Callable[[Row], float | None]) -> dict[Arm, float]:
        """The mean over data sets of each one's mean over seeds, where no data set is missing."""
        known: dict[Arm, dict[str, list[float]]] = {}
        for row in self.finished:
            if (amount := measured(row)) is not None:
                known.setdefault(row.arm, {}).setdefault(row.data, []).append(amount)
        names = {data for own in known.values() for data in own}
        return {arm: mean(map(mean, own.values())) for arm, own in known.items() if own.keys() == names}

    @cached_property
    def finished(self) -> list[Row]:
        """The runs that have a result."""
        return [row for row in self.rows if row.status == FINISHED]

    @property
    def recommended(self) -> Arm:
        """Of the levels that help, those that together promise most; pairs that are clear are counted."""
        promised = {verdict.effect: verdict.value for verdict in self.mains if verdict.word == HELPS}
        levels: list[list[int]] = [[0] for _ in self.space.factors]
        for effect in promised:
            ((factor, level),) = effect.places
            levels[factor].append(level)
        promised |= {verdict.effect: verdict.value for verdict in self.pairs if verdict.word in (FIGHTS, TOGETHER)}
        arms = list(filter(self.admissible, product(*levels)))
        sums = columns(arms, self.design.levels, list(promised)) @ np.array(list(promised.values()))
        # Of equals, the one with the least in it.
        fewest = [-int(np.count_nonzero(arm)) for arm in arms]
        return max(zip(sums.round(9).tolist(), fewest, arms, strict=True))[2]

    def front(self) -> list[Arm]:
        """The arms that no other beats in score without costing more time, cheapest first."""
        found: list[Arm] = []
        best = -np.inf
        sign = -1 if self.metric in LOWER_IS_BETTER else 1
        for _, worse, arm in sorted((seconds, -sign * score, arm) for arm, (score, seconds) in self.means().items()):
            if -worse > best:
                found, best = [*found, arm], -worse
        return found

    def means(self) -> dict[Arm, tuple[float, float]]:
        """Mean score and seconds of each arm that has finished runs on every data set."""
        scores, seconds = self._by_arm(attrgetter("score")), self._by_arm(attrgetter("seconds"))
        return {arm: (scores[arm], seconds[arm]) for arm in self.design.arms if arm in scores}
