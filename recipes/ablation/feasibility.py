"""Which arms can be run: each level is composed once, and arms are put together from the values that it changes."""

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
from recipes.runs.claim import differences
from recipes.trick import Trick

Compose = Callable[[Sequence[str]], DictConfig]
Values = dict[str, Any]


class Compatibility:
    """Decides which levels can be in one run.

    Args:
        space: what varies.
        compose: composes a config from overrides.

    Raises:
        UserError: with every wrong value, at any level and of any data set, or every level that changes nothing.
    """

    def __init__(self, space: Space, compose: Compose) -> None:
        problems: list[str] = []
        first, *other_data = space.data
        base = _read_values(space, compose, space.base, first, problems)
        # The other data sets are read only to find their problems.
        for data in other_data:
            _read_values(space, compose, space.base, data, problems)
        # If the base is wrong, levels are compared with nothing, and only their problems matter.
        self.base: Values = base or {}
        self.changes: dict[Level, list[tuple[str, Any]]] = {factor.choices[0]: [] for factor in space.factors}
        for factor, number in space.singles:
            values = _read_values(space, compose, space.single_arm(factor, number), first, problems)
            changed = differences(self.base, values, "") if values is not None else []
            self.changes[space.factors[factor].choices[number]] = [(path, new) for path, _, new in changed]
        if not problems:
            problems = list(self._find_idle_levels(space))
        if problems:
            raise UserError(*problems)

    def _find_idle_levels(self, space: Space) -> Iterator[str]:
        """Find levels that equal the base."""
        for factor in space.factors:
            for level in factor.choices[1:]:
                if not self.changes[level]:
                    yield (
                        f"{factor.name}: {level.name} and {factor.levels[0]} are the same run, perhaps because of a "
                        "recipe; leave it out there or here."
                    )

    def refusals(self, levels: Sequence[Level]) -> list[str]:
        """Explain why these levels cannot be in one run; empty if they can."""
        values = self._values_with(levels)
        tricks = self._build_tricks(values)
        return [*seams.refusals(tricks), *unmet(values, tricks)]

    def are_exclusive(self, one: Factor, other: Factor) -> bool:
        """Whether two tricks refuse each other, whatever their values."""
        for levels in product(one.choices[1:], other.choices[1:]):
            tricks = self._build_tricks(self._values_with(levels))
            if not seams.refusals({level.trick: tricks[level.trick] for level in levels if level.trick}):
                return False
        return True

    def _values_with(self, levels: Sequence[Level]) -> Values:
        """Apply the changes of these levels to the values of the base."""
        values = deepcopy(self.base)
        for level in levels:
            for path, value in self.changes[level]:
                put_at(values, path, deepcopy(value))
        return values

    @staticmethod
    def _build_tricks(values: Mapping[str, Any]) -> dict[str, Trick]:
        settings = {name: own for name, own in values["tricks"].items() if own is not None}
        return {name: _build_trick(name, json.dumps(own)) for name, own in settings.items()}


def _read_values(space: Space, compose: Compose, arm: Arm, data: str, problems: list[str]) -> Values | None:
    """Read the values of an arm's config; if it is wrong, add the reasons to `problems` and return None."""
    try:
        config = read(compose(space.overrides_of(arm, 0, data)))
        build(config.tricks)
    except UserError as error:
        problems.extend(error.problems)
        return None
    return as_values(config)


def find_admissible_arms(space: Space, compose: Compose) -> tuple[Space, Callable[[Arm], bool]]:
    """Merge tricks that exclude each other into one factor, and find which arms can be run.

    Returns:
        The space with the merged factors, and a function that decides whether an arm can be run.

    Raises:
        UserError: with every wrong value, and every level that is refused in all arms.
    """
    compatibility = Compatibility(space, compose)
    space = replace(space, factors=tuple(_group_exclusive_tricks(space.factors, compatibility)))

    @cache
    def admissible(arm: Arm) -> bool:
        return not compatibility.refusals(space.levels_of(arm))

    if problems := list(_find_impossible_levels(space, admissible, compatibility)):
        raise UserError(*problems)
    return space, admissible


def _group_exclusive_tricks(factors: Sequence[Factor], compatibility: Compatibility) -> Iterator[Factor]:
    """Merge the factors of tricks that all exclude each other; the other factors stay as they are."""
    groups: list[list[Factor]] = []
    for factor in factors:
        for group in groups:
            if all(_are_tricks(factor, each) and compatibility.are_exclusive(factor, each) for each in group):
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


def _find_impossible_levels(
    space: Space, admissible: Callable[[Arm], bool], compatibility: Compatibility
) -> Iterator[str]:
    """Explain why a level is refused, for every level that is refused in all arms."""
    for factor, each in enumerate(space.factors):
        for number in range(len(each.choices)):
            # All arms with this level of this factor.
            choices = [range(len(other.choices)) for other in space.factors]
            choices[factor] = range(number, number + 1)
            if not any(map(admissible, product(*choices))):
                yield from compatibility.refusals(space.levels_of(space.single_arm(factor, number)))


@cache
def _build_trick(name: str, settings: str) -> Trick:
    return build({name: json.loads(settings)})[name]
