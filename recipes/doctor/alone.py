"""Run the step of a run with some of its tricks only, and say which values of a trick to go back to."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from recipes import seams
from recipes.base import training_seams
from recipes.compose.remedies import default_setting
from recipes.config import Config
from recipes.loop import TrainingRun
from recipes.ranges import as_yaml
from recipes.trick import Trick


@contextmanager
def only_tricks(run: TrainingRun, tricks: Mapping[str, Trick]) -> Iterator[None]:
    """Inside this context only these tricks wrap the seams; what others did to the data and the model stays."""
    seams_with_tricks, is_plain = run.seams, run.is_plain
    run.seams = training_seams(run, tricks)
    run.is_plain = seams.is_plain(tricks)
    try:
        yield
    finally:
        run.seams, run.is_plain = seams_with_tricks, is_plain


def step_tricks(run: TrainingRun) -> dict[str, Trick]:
    """The tricks that change what one update does to a batch."""
    return {name: each for name, each in run.tricks.items() if {"loss", "objective", "gradient"} & set(each.slots)}


def changed_settings(config: Config, trick: Trick) -> dict[str, str]:
    """The settings of a trick, by dotted path, that are not at the value of its YAML file, and that value."""
    target = config.tricks[trick.name]["_target_"]
    defaults = {item.name: default_setting(item.name, target) for item in dataclasses.fields(trick)}
    return {
        f"tricks.{trick.name}.{name}": value
        for name, value in defaults.items()
        if value is not None
        and value != as_yaml(getattr(trick, name))
        # A file or a folder that only the user has is no value to take back.
        and not (value == "null" and isinstance(getattr(trick, name), str))
    }


def describe_settings(trick: Trick, config: Config) -> str:
    """The trick's name, with those of its values that are not the default."""
    names = [path.rpartition(".")[2] for path in changed_settings(config, trick)]
    values = ", ".join(f"tricks.{trick.name}.{name}={as_yaml(getattr(trick, name))}" for name in names)
    return f"{trick.name} ({values})" if values else trick.name


def weaken(trick: Trick, config: Config) -> str:
    """The remedy for a trick that harms: its default values, or to leave it out where it has them already."""
    changed = changed_settings(config, trick)
    if not changed:
        return f"leave out {trick.name}"
    settings = " ".join(f"{path}={value}" for path, value in changed.items())
    return f"{settings}, the default{'s' if len(changed) > 1 else ''}; or leave out {trick.name}"
