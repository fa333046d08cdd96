"""The findings of a study: its verdicts by name, the cost of each level, and the recommended arm."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from operator import attrgetter
from statistics import mean

import numpy as np

from recipes.ablation.design import Arm, Design, Effect, design_matrix
from recipes.ablation.endpoints import Interval, SecondEndpoint
from recipes.ablation.factors import Space
from recipes.ablation.failures import BaseHealth, BrokenLevel
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import FIGHTS, HELPS, TOGETHER, Verdict
from recipes.metrics import is_lower_better

COSTS = {"passes": "passes", "seconds": "time", "memory": "memory"}
"""The costs of a run: the field of its row, and the word for it."""


@dataclass(frozen=True)
class Findings:
    """All results of a study."""

    space: Space
    admissible: Callable[[Arm], bool]
    design: Design
    rows: Sequence[Row]
    mains: Sequence[Verdict]
    pairs: Sequence[Verdict]
    metric: str
    margin: float
    by_data: Mapping[str, Mapping[Effect, float]]
    """Each main effect on each data set."""
    rounds: Sequence[str] = ()
    """The looks of a study in rounds, and why it ended, in sentences."""
    base: Sequence[BaseHealth] = ()
    """How the base did on each data set."""
    breaking: Sequence[BrokenLevel] = ()
    """The levels that break training; `design` has none of their arms."""
    doubted: Sequence[BrokenLevel] = ()
    """The levels that may break training, and have no verdict."""
    planned: Design | None = None
    """The design with all arms."""
    over_all_runs: Mapping[Effect, Verdict] = field(default_factory=dict)
    """The verdicts on main effects if no level left and none was doubted, where a level does or is."""
    second: SecondEndpoint | None = None
    rotates: bool = False
    """Whether each seed is validated on another fold."""
    warnings: Sequence[str] = ()
    """What biases the comparison, in sentences."""
    sets: Sequence[str] = ()
    """What tricks set outside of themselves in their arms, in sentences."""
    by_length: Mapping[float, "Findings"] = field(default_factory=dict)
    """The same study at each multiple of the updates, shortest first."""
    differences: Mapping[Effect, Interval] = field(default_factory=dict)
    """How much larger each main effect is at the longest training than at the shortest."""
    length_checks: Sequence[str] = ()
    """What the base gains from twice the updates, on each data set."""
    deviations: Mapping[str, float] = field(default_factory=dict)
    """How much another seed moves the score of a run on each data set: a standard deviation."""
    length: Sequence[str] = ()
    """The override of the recommended recipe's length, if the study multiplies it."""
    search_path: Sequence[str] = ()
    """The user's config folders, in the form of `hydra.searchpath`."""
    trusted: Sequence[str] = ()
    """The further classes that the command trusts."""
    confirmations: Sequence[tuple[str, Verdict]] = ()
    """With fresh seeds: an alternative to the recommended recipe, in words, and its effect against the recipe."""
    test_verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """On the test split of each data set: the effect of the base against the recommended recipe."""
    tested_recipes: int = 0
    """How many recommended recipes have been scored on the test split so far."""

    def name(self, effect: Effect) -> str:
        """Name an effect: `mixup`, `ema × mixup`, `tricks.mixup.alpha=1.0`."""
        return self.space.name_effect(effect.terms)

    @cached_property
    def costs(self) -> dict[Effect, dict[str, float]]:
        """The cost of each level, as a multiple of the cost without it, by the keys of `COSTS`."""
        ratios = {cost: self.ratios(self.cost_reader(cost)) for cost in COSTS}
        return {
            effect: {cost: by_effect[effect] for cost, by_effect in ratios.items() if effect in by_effect}
            for effect in self.design.mains
        }

    @cached_property
    def compares_replays(self) -> bool:
        """Whether time and memory are compared between runs that replayed their passes, as most runs of the study do.

        Else between those that did not. A mixture would show what the mode costs, and not what a level costs.
        """
        modes = [row.graphs or False for row in self.finished_rows]
        return modes.count(True) > modes.count(False)

    def cost_reader(self, cost: str) -> Callable[[Row], float | None]:
        """Read a cost of a run; None for the time and memory of a run in another mode."""

        def read(row: Row) -> float | None:
            amount: float | None = getattr(row, cost)
            return amount if cost == "passes" or self._is_compared(row) else None

        return read

    @property
    def arms_in_other_modes(self) -> list[Arm]:
        """The arms with runs whose time and memory are not compared."""
        arms = {row.arm for row in self.finished_rows if not self._is_compared(row)}
        return [arm for arm in self.design.arms if arm in arms]

    def _is_compared(self, row: Row) -> bool:
        return (row.graphs or False) is self.compares_replays

    def ratios(self, measured: Callable[[Row], float | None]) -> dict[Effect, float]:
        """Compute by which factor each effect multiplies an amount, with the contrasts that estimate the effect.

        Args:
            measured: the amount of a run, such as its seconds. None where it is unknown; then the others decide.
        """

        def log_amount(row: Row) -> float | None:
            amount = measured(row)
            return None if amount is None else float(np.log(amount))

        log_amounts = self._average_by_arm(log_amount)
        design = self.design.restrict_to(log_amounts)
        if not design.arms:
            return {}
        of_arms = np.array([log_amounts[arm] for arm in design.arms])
        return {effect: float(np.exp(weights @ of_arms)) for effect, weights in design.contrasts().items()}

    def _average_by_arm(self, measured: Callable[[Row], float | None]) -> dict[Arm, float]:
        """Average an amount over seeds and then over data sets, for each arm that has it on every data set."""
        amounts: dict[Arm, dict[str, list[float]]] = {}
        for row in self.finished_rows:
            if (amount := measured(row)) is not None:
                amounts.setdefault(row.arm, {}).setdefault(row.data, []).append(amount)
        names = {data for by_data in amounts.values() for data in by_data}
        return {arm: mean(map(mean, by_data.values())) for arm, by_data in amounts.items() if by_data.keys() == names}

    @cached_property
    def finished_rows(self) -> list[Row]:
        """The runs that have a result."""
        return [row for row in self.rows if row.status == FINISHED]

    @property
    def recommended_arm(self) -> Arm:
        """The arm of helpful levels with the largest predicted sum, including the pairs with a clear verdict."""
        values = {verdict.effect: verdict.value for verdict in self.mains if verdict.word == HELPS}
        levels: list[list[int]] = [[0] for _ in self.space.factors]
        for effect in values:
            ((factor, level),) = effect.terms
            levels[factor].append(level)
        values |= {verdict.effect: verdict.value for verdict in self.pairs if verdict.word in (FIGHTS, TOGETHER)}
        arms = list(filter(self.admissible, product(*levels)))
        sums = design_matrix(arms, self.design.levels, list(values)) @ np.array(list(values.values()))
        # Of equal sums, the arm with the fewest levels on.
        fewest = [-int(np.count_nonzero(arm)) for arm in arms]
        return max(zip(sums.round(9).tolist(), fewest, arms, strict=True))[2]

    def pareto_front(self) -> list[Arm]:
        """Find the arms that no other arm beats in score without taking more time, fastest first."""
        front: list[Arm] = []
        best = -np.inf
        sign = -1 if is_lower_better(self.metric) else 1
        # By time, and of equal times the best score first.
        ranked = sorted((seconds, -sign * score, arm) for arm, (score, seconds) in self.means().items())
        for _, negative_score, arm in ranked:
            if -negative_score > best:
                front, best = [*front, arm], -negative_score
        return front

    def means(self) -> dict[Arm, tuple[float, float]]:
        """Compute the mean score and the mean seconds of each arm that has both on every data set."""
        scores = self._average_by_arm(attrgetter("score"))
        seconds = self._average_by_arm(self.cost_reader("seconds"))
        return {arm: (scores[arm], seconds[arm]) for arm in self.design.arms if arm in scores and arm in seconds}
