"""From the overrides of a sweep to factors: what a study varies, and what all its runs share.

`'+tricks=[eda,mixup]' tricks.mixup.alpha=0.2,1.0 model=minilm,tiny` has the factors `eda` (none, eda), `mixup` (none,
mixup alpha=0.2, mixup alpha=1.0) and `model` (minilm, tiny). The first level of a factor is what its others are
compared with. Data sets are no factor: effects are estimated on each, and averaged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from recipes.ablation.design import Arm
from recipes.config import UNDECIDING
from recipes.errors import UserError

DATA = ("data", "data.name", "data.subset", "data.train")
"""What may be swept to name several data sets."""


@dataclass(frozen=True)
class Level:
    """One level of a factor, and what it brings to a run."""

    name: str
    overrides: tuple[str, ...] = ()
    trick: str | None = None


NONE = Level("none")


@dataclass(frozen=True)
class Factor:
    """What a study varies: a trick, tricks that exclude each other, or a value."""

    name: str
    choices: tuple[Level, ...]
    """The first is what the others are compared with."""

    @property
    def levels(self) -> tuple[str, ...]:
        """The names of the levels."""
        return tuple(level.name for level in self.choices)

    def told(self, level: int) -> str:
        """A level in words: a trick is its own name, a value says nothing without its setting."""
        return self.levels[level] if self.choices[0] == NONE else f"{self.name}={self.levels[level]}"


@dataclass(frozen=True, eq=False)
class Space:
    """All that a study can run."""

    factors: tuple[Factor, ...]
    data: Mapping[str, tuple[str, ...]]
    """The data sets, each with its overrides."""
    shared: tuple[str, ...] = ()
    """Overrides of every run."""
    always: tuple[str, ...] = ()
    """Tricks that are on in every run."""

    @property
    def base(self) -> Arm:
        """The arm of first levels."""
        return (0,) * len(self.factors)

    @property
    def singles(self) -> list[tuple[int, int]]:
        """Each level but the first ones, as its factor's number and its own."""
        return [(place, level) for place, factor in enumerate(self.factors) for level in range(1, len(factor.choices))]

    def alone(self, factor: int, level: int) -> Arm:
        """The base with one level changed."""
        return (*self.base[:factor], level, *self.base[factor + 1 :])

    def levels_of(self, arm: Arm) -> list[Level]:
        """The level of each factor."""
        return [factor.choices[level] for factor, level in zip(self.factors, arm, strict=True)]

    def effect(self, places: Iterable[tuple[int, int]]) -> str:
        """One or two levels in words: `mixup`, `ema × mixup`."""
        return " × ".join(self.factors[factor].told(level) for factor, level in places)

    def name(self, arm: Arm) -> str:
        """An arm in words: what differs from the base."""
        chosen = zip(self.factors, arm, strict=True)
        return " + ".join(factor.told(level) for factor, level in chosen if level) or "base"

    def overrides_of(self, arm: Arm, seed: int, data: str) -> list[str]:
        """What `train.py` is given for one run."""
        levels = self.levels_of(arm)
        tricks = sorted({*self.always, *(level.trick for level in levels if level.trick)})
        selected = [f"+tricks=[{','.join(tricks)}]"] if tricks else []
        own = [override for level in levels for override in level.overrides]
        return [*self.shared, *self.data[data], *selected, *own, "evaluate.test=false", f"seed={seed}"]


@dataclass
class Asked:
    """What the overrides of a sweep say, before anything is composed."""

    listed: list[str] = field(default_factory=list)
    values: dict[str, list[Override]] = field(default_factory=dict)
    """Overrides of the values of a trick, by its name."""
    swept: list[Override] = field(default_factory=list)
    data: list[Override] = field(default_factory=list)
    shared: list[Override] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def space_of(
    arguments: Sequence[str], always: Iterable[str], data: str, config_loader: ConfigLoader | None = None
) -> Space:
    """Read the overrides of a sweep; every trick of the list is a factor of its own here.

    Args:
        arguments: the overrides, without those of Hydra itself.
        always: tricks that are on in every run.
        data: the name of the data set that is composed where none is swept.
        config_loader: knows the names that `glob()` sweeps over.

    Raises:
        UserError: with all that an ablation cannot run.
    """
    asked = Asked()
    for override in OverridesParser.create(config_loader).parse_overrides(list(arguments)):
        _sort(override, asked)
    on = tuple(sorted(set(always)))
    tricks = sorted(set(asked.listed) - set(on))
    for name, overrides in asked.values.items():
        if name not in tricks:
            for override in overrides:
                (asked.swept if override.is_sweep_override() else asked.shared).append(override)
    factors = [Factor(name, (NONE, *_levels_of(name, asked.values.get(name, [])))) for name in tricks]
    factors += [
        Factor(override.key_or_group, tuple(Level(value, (line,)) for value, line in _lines(override)))
        for override in asked.swept
    ]
    asked.problems += [] if asked.problems and not factors else _too_few(factors)
    if asked.problems:
        raise UserError(*asked.problems)
    return Space(tuple(factors), _data_sets(asked.data, data), tuple(map(_line, asked.shared)), on)


def _refusal(override: Override) -> str:
    """Why an ablation cannot take an override; empty where it can."""
    key, sweeps = override.key_or_group, override.is_sweep_override()
    if sweeps and not override.is_discrete_sweep():
        return f"an ablation compares a few values; list them: {key}=1,2."
    if key == "seed" or (key.startswith("seeds.") and sweeps):
        return "every arm runs with the same seeds; hydra.sweeper.seeds=3 says how many."
    if key == "evaluate.test" and (sweeps or override.value() is not False):
        return "an ablation chooses on validation and leaves the test split shut; leave it out."
    if key == "resume" and (sweeps or override.value() is not True):
        return "an ablation goes on where it stopped; to start over, name another hydra.sweep.dir."
    if key in UNDECIDING and sweeps:
        return "it changes no number of a run, so there is nothing to compare."
    if key == "tricks" and sweeps:
        return "an ablation takes one list, in which every trick is a factor: '+tricks=[a,b]'."
    return ""


def _sort(override: Override, asked: Asked) -> None:
    """Put an override where it belongs."""
    key, sweeps = override.key_or_group, override.is_sweep_override()
    if why := _refusal(override):
        asked.problems.append(f"{_line(override)}: {why}")
    elif key == "tricks":
        value = override.value()
        asked.listed += map(str, value) if isinstance(value, list) else [str(value)]
    elif key.startswith("tricks."):
        asked.values.setdefault(key.split(".")[1], []).append(override)
    elif sweeps:
        (asked.data if key in DATA else asked.swept).append(override)
    elif key not in ("evaluate.test", "resume"):
        asked.shared.append(override)


def _levels_of(trick: str, values: Sequence[Override]) -> Iterator[Level]:
    """A trick's levels: one, or one for each combination of the values that are swept."""
    single = tuple(_line(override) for override in values if not override.is_sweep_override())
    swept = [override for override in values if override.is_sweep_override()]
    for combination in product(*(list(_lines(override)) for override in swept)):
        told = [
            f"{override.key_or_group.removeprefix(f'tricks.{trick}.')}={value}"
            for override, (value, _) in zip(swept, combination, strict=True)
        ]
        yield Level(" ".join([trick, *told]), (*single, *(line for _, line in combination)), trick)


def _data_sets(swept: Sequence[Override], name: str) -> dict[str, tuple[str, ...]]:
    if not swept:
        return {name: ()}
    combinations = product(*(list(_lines(override)) for override in swept))
    return {" ".join(value for value, _ in each): tuple(line for _, line in each) for each in combinations}


def _too_few(factors: Sequence[Factor]) -> Iterator[str]:
    if not factors:
        yield (
            "nothing varies; name tricks to compare with and without each, '+tricks=[<one>,<other>]', or values, "
            "train.learning_rate=1e-5,1e-4."
        )
    for factor in factors:
        if len(set(factor.levels)) < max(2, len(factor.levels)):
            yield f"{factor.name}={','.join(factor.levels)}: a factor needs two values or more, all different."


def _lines(override: Override) -> Iterator[tuple[str, str]]:
    """Each value that is swept, and its override."""
    for value in override.sweep_string_iterator():
        yield str(value), f"{override.get_key_element()}={value}"


def _line(override: Override) -> str:
    return override.input_line or ""
