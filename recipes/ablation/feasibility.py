"""Which arms can be run at all: what each level changes is composed once, and arms are put together from that."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

from omegaconf import DictConfig

from recipes import seams
from recipes.ablation.design import Arm
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.compose.reading import read
from recipes.compose.requirements import unmet
from recipes.compose.tricks import build
from recipes.config import as_values, put_at
from recipes.errors import UserError
from recipes.runs.folder import differences
from recipes.trick import Trick

Compose = Callable[[Sequence[str]], DictConfig]


class Admission:
    """Says which levels can be together.

    Args:
        space: what varies.
        compose: makes a config of overrides.

    Raises:
        UserError: with every value that is wrong, at any level and of any data set.
    """

    def __init__(self, space: Space, compose: Compose) -> None:
        """Compose the base, and each level alone on it."""
        self.changes: dict[Level, list[tuple[str, Any]]] = {factor.choices[0]: [] for factor in space.factors}
        problems: list[str] = []
        first = next(iter(space.data))

        def values(arm: Arm, data: str) -> dict[str, Any]:
            try:
                config = read(compose(space.overrides_of(arm, 0, data)))
                build(config.tricks)
            except UserError as error:
                problems.extend(error.problems)
                return self.values
            return as_values(config)

        self.values: dict[str, Any] = {}
        self.values = values(space.base, first)
        for data in list(space.data)[1:]:
            values(space.base, data)
        for place, factor in enumerate(space.factors):
            for number, level in enumerate(factor.choices[1:], start=1):
                found = differences(self.values, values(space.alone(place, number), first), "")
                self.changes[level] = [(path, new) for path, _, new in found]
        problems = problems or list(self._idle(space))
        if problems:
            raise UserError(*problems)

    def _idle(self, space: Space) -> Iterator[str]:
        """Levels that are so in every run already."""
        for factor in space.factors:
            for level in factor.choices[1:]:
                if not self.changes[level]:
                    yield (
                        f"{factor.name}: {level.name} and {factor.levels[0]} are the same run, perhaps by a recipe; "
                        "leave it out there or here."
                    )

    def refusals(self, levels: Sequence[Level]) -> list[str]:
        """Why these levels cannot be in one run; empty where they can."""
        values = self._together(levels)
        tricks = self._tricks(values)
        return [*seams.refusals(tricks), *unmet(values, tricks)]

    def exclusive(self, one: Factor, other: Factor) -> bool:
        """Whether two tricks refuse each other, whatever their values."""
        for levels in product(one.choices[1:], other.choices[1:]):
            tricks = self._tricks(self._together(levels))
            if not seams.refusals({level.trick: tricks[level.trick] for level in levels if level.trick}):
                return False
        return True

    def _together(self, levels: Sequence[Level]) -> dict[str, Any]:
        """The values of the base with what these levels change."""
        values = deepcopy(self.values)
        for level in levels:
            for path, value in self.changes[level]:
                put_at(values, path, deepcopy(value))
        return values

    @staticmethod
    def _tricks(values: Mapping[str, Any]) -> dict[str, Trick]:
        found = values["tricks"].items()
        return {name: _built(name, json.dumps(own)) for name, own in found if own is not None}


def admitted(space: Space, compose: Compose) -> tuple[Space, Callable[[Arm], bool]]:
    """Make one factor of tricks that exclude each other, and say which arms can be run.

    Raises:
        UserError: with every value that is wrong, and every level that no arm can have.
    """
    admission = Admission(space, compose)
    space = replace(space, factors=tuple(_grouped(space.factors, admission)))

    @cache
    def admissible(arm: Arm) -> bool:
        return not admission.refusals(space.levels_of(arm))

    if problems := list(_never(space, admissible, admission)):
        raise UserError(*problems)
    return space, admissible


def _grouped(factors: Sequence[Factor], admission: Admission) -> Iterator[Factor]:
    """Each factor, those of tricks that all exclude each other as one."""
    groups: list[list[Factor]] = []
    for factor in factors:
        for group in groups:
            if all(_are_tricks(factor, each) and admission.exclusive(factor, each) for each in group):
                group.append(factor)
                break
        else:
            groups.append([factor])
    for group in groups:
        if len(group) == 1:
            yield group[0]
        else:
            levels = [level for factor in group for level in factor.choices[1:]]
            yield Factor("|".join(factor.name for factor in group), (NONE, *levels))


def _are_tricks(*factors: Factor) -> bool:
    return all(factor.choices[0] == NONE for factor in factors)


def _never(space: Space, admissible: Callable[[Arm], bool], admission: Admission) -> Iterator[str]:
    """What is refused in every arm that has some level."""
    for place, factor in enumerate(space.factors):
        for number in range(len(factor.choices)):
            others = [range(len(each.choices)) for each in space.factors]
            others[place] = range(number, number + 1)
            if not any(map(admissible, product(*others))):
                yield from admission.refusals(space.levels_of(space.alone(place, number)))


@cache
def _built(name: str, settings: str) -> Trick:
    return build({name: json.loads(settings)})[name]
