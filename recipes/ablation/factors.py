"""From the overrides of a sweep to what a study varies (factors) and what all its runs share.

`'+tricks=[eda,mixup]' tricks.mixup.alpha=0.2,1.0 model=minilm,tiny` has three factors:

- `eda` with the levels none and eda,
- `mixup` with the levels none, mixup alpha=0.2 and mixup alpha=1.0,
- `model` with the levels minilm and tiny.

The other levels of a factor are compared with its first. Data sets are not a factor: effects are estimated on each data
set and averaged.
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
"""Settings whose sweep names data sets instead of a factor."""


@dataclass(frozen=True)
class Level:
    """One level of a factor, and the overrides and the trick that it adds to a run."""

    name: str
    overrides: tuple[str, ...] = ()
    trick: str | None = None


NONE = Level("none")


@dataclass(frozen=True)
class Factor:
    """One thing that a study varies: a trick, tricks that exclude each other, or a value."""

    name: str
    choices: tuple[Level, ...]
    """The levels; the others are compared with the first."""

    @property
    def levels(self) -> tuple[str, ...]:
        """The names of the levels."""
        return tuple(level.name for level in self.choices)

    def name_level(self, level: int) -> str:
        """Name a level: `mixup` for a trick, `model=tiny` for a value, which is unclear without its setting."""
        return self.levels[level] if self.choices[0] == NONE else f"{self.name}={self.levels[level]}"


@dataclass(frozen=True, eq=False)
class Space:
    """All runs that a study can have."""

    factors: tuple[Factor, ...]
    data: Mapping[str, tuple[str, ...]]
    """The data sets, each with its overrides."""
    shared: tuple[str, ...] = ()
    """Overrides of every run."""
    always: tuple[str, ...] = ()
    """Tricks that are on in every run."""
    length: float = 1.0
    """Multiple of the updates, or epochs, that the config of a run sets."""

    @property
    def base(self) -> Arm:
        """The arm with the first level of every factor."""
        return (0,) * len(self.factors)

    @property
    def singles(self) -> list[tuple[int, int]]:
        """Every level except the first ones, as (factor, level)."""
        return [(factor, level) for factor, each in enumerate(self.factors) for level in range(1, len(each.choices))]

    def single_arm(self, factor: int, level: int) -> Arm:
        """Return the base with one level changed."""
        return (*self.base[:factor], level, *self.base[factor + 1 :])

    def levels_of(self, arm: Arm) -> list[Level]:
        """Return an arm's level of each factor."""
        return [factor.choices[level] for factor, level in zip(self.factors, arm, strict=True)]

    def name_effect(self, terms: Iterable[tuple[int, int]]) -> str:
        """Name one or two (factor, level): `mixup`, `ema × mixup`."""
        return " × ".join(self.factors[factor].name_level(level) for factor, level in terms)

    def name_arm(self, arm: Arm) -> str:
        """Name an arm by its differences from the base: `mixup + model=tiny`."""
        levels = zip(self.factors, arm, strict=True)
        return " + ".join(factor.name_level(level) for factor, level in levels if level) or "base"

    def overrides_of(self, arm: Arm, seed: int, data: str) -> list[str]:
        """Return the overrides that `train.py` gets for one run."""
        levels = self.levels_of(arm)
        tricks = sorted({*self.always, *(level.trick for level in levels if level.trick)})
        tricks_override = [f"+tricks=[{','.join(tricks)}]"] if tricks else []
        of_levels = [override for level in levels for override in level.overrides]
        return [
            *self.shared,
            *self.data[data],
            *tricks_override,
            *of_levels,
            "evaluate.test=false",
            f"seed={seed}",
        ]


@dataclass
class SweepOverrides:
    """The overrides of a sweep sorted by purpose, before anything is composed."""

    tricks: list[str] = field(default_factory=list)
    """Names in the list of tricks."""
    values: dict[str, list[Override]] = field(default_factory=dict)
    """Overrides of the values of a trick, by its name."""
    swept: list[Override] = field(default_factory=list)
    data: list[Override] = field(default_factory=list)
    shared: list[Override] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def build_space(
    arguments: Sequence[str], always: Iterable[str], data: str, config_loader: ConfigLoader | None = None
) -> Space:
    """Read the overrides of a sweep; every trick in the list is a factor of its own at this point.

    Args:
        arguments: the overrides, without those of Hydra itself.
        always: tricks that are on in every run.
        data: the name of the data set that is used if none is swept.
        config_loader: resolves the names that `glob()` sweeps over.

    Returns:
        The factors, the data sets, and what all runs share.

    Raises:
        UserError: with everything that an ablation cannot run.
    """
    sweep = SweepOverrides()
    for override in OverridesParser.create(config_loader).parse_overrides(list(arguments)):
        _sort_override(override, sweep)
    always_on = tuple(sorted(set(always)))
    tricks = sorted(set(sweep.tricks) - set(always_on))
    # Values of a trick that is not varied are ordinary settings.
    for name, overrides in sweep.values.items():
        if name not in tricks:
            for override in overrides:
                (sweep.swept if override.is_sweep_override() else sweep.shared).append(override)
    factors = [Factor(name, (NONE, *_list_trick_levels(name, sweep.values.get(name, [])))) for name in tricks]
    for override in sweep.swept:
        levels = tuple(Level(value, (line,)) for value, line in _list_values(override))
        factors.append(Factor(override.key_or_group, levels))
    # "Nothing varies" is noise where the sweep was refused anyway.
    if factors or not sweep.problems:
        sweep.problems += _find_factors_without_choice(factors)
    if sweep.problems:
        raise UserError(*sweep.problems)
    return Space(tuple(factors), _list_data_sets(sweep.data, data), tuple(map(_override_text, sweep.shared)), always_on)


def _explain_refusal(override: Override) -> str:
    """Explain why an ablation cannot take an override; empty if it can."""
    key, sweeps = override.key_or_group, override.is_sweep_override()
    if sweeps and not override.is_discrete_sweep():
        return f"an ablation compares a few values; list them: {key}=1,2."
    if key == "seed" or (key.startswith("seeds.") and sweeps):
        return "every arm runs with the same seeds; set their number, as in hydra.sweeper.seeds=3."
    if key == "evaluate.test" and (sweeps or override.value() is not False):
        return "an ablation chooses on validation and does not use the test split; leave it out."
    if key == "resume" and (sweeps or override.value() is not True):
        return "an ablation always resumes; to start over, name another hydra.sweep.dir."
    if sweeps and any(key == path or key.startswith(f"{path}.") for path in UNDECIDING):
        return "it does not change the results of a run, so there is nothing to compare."
    if key == "tricks" and sweeps:
        return "an ablation takes one list, in which every trick is a factor: '+tricks=[a,b]'."
    return ""


def _sort_override(override: Override, sweep: SweepOverrides) -> None:
    """Add an override to the list that it belongs to."""
    key, sweeps = override.key_or_group, override.is_sweep_override()
    if refusal := _explain_refusal(override):
        sweep.problems.append(f"{_override_text(override)}: {refusal}")
    elif key == "tricks":
        value = override.value()
        sweep.tricks += map(str, value) if isinstance(value, list) else [str(value)]
    elif key.startswith("tricks."):
        sweep.values.setdefault(key.split(".")[1], []).append(override)
    elif sweeps:
        (sweep.data if key in DATA else sweep.swept).append(override)
    elif key not in ("evaluate.test", "resume"):
        sweep.shared.append(override)


def _list_trick_levels(trick: str, values: Sequence[Override]) -> Iterator[Level]:
    """List a trick's levels: one, or one for each combination of its swept values."""
    constant = tuple(_override_text(override) for override in values if not override.is_sweep_override())
    swept = [override for override in values if override.is_sweep_override()]
    settings = [override.key_or_group.removeprefix(f"tricks.{trick}.") for override in swept]
    for combination in product(*(list(_list_values(override)) for override in swept)):
        described = [f"{setting}={value}" for setting, (value, _) in zip(settings, combination, strict=True)]
        overrides = (*constant, *(line for _, line in combination))
        yield Level(" ".join([trick, *described]), overrides, trick)


def _list_data_sets(swept: Sequence[Override], name: str) -> dict[str, tuple[str, ...]]:
    if not swept:
        return {name: ()}
    combinations = product(*(list(_list_values(override)) for override in swept))
    return {" ".join(value for value, _ in each): tuple(line for _, line in each) for each in combinations}


def _find_factors_without_choice(factors: Sequence[Factor]) -> Iterator[str]:
    if not factors:
        yield (
            "nothing varies; name tricks to compare with and without each, '+tricks=[<one>,<other>]', or values, "
            "train.learning_rate=1e-5,1e-4."
        )
    for factor in factors:
        if len(set(factor.levels)) < max(2, len(factor.levels)):
            yield f"{factor.name}={','.join(factor.levels)}: a factor needs two values or more, all different."


def _list_values(override: Override) -> Iterator[tuple[str, str]]:
    """List each swept value with its override."""
    for value in override.sweep_string_iterator():
        yield str(value), f"{override.get_key_element()}={value}"


def _override_text(override: Override) -> str:
    return override.input_line or ""
