"""Under which project, group, name and tags a tracker shows a run, and with which settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.config import Config, as_values, deciding_values
from recipes.ranges import as_yaml

# Settings that do not tell the runs of a sweep apart, as the beginnings of their names.
ALIKE = (
    *("hydra", "tricks=", "seed=", "tracker", "checkpoint", "evaluate", "doctor", "trusted", "resume"),
    *("data.train", "data.test", "data.validation", "train.threads", "train.device"),
)
MEMBERS = "members"


@dataclass(frozen=True)
class Identity:
    """What a tracker calls a run."""

    project: str
    group: str | None
    name: str
    tags: Mapping[str, str]
    """Chosen by the user or the study, with an empty value where a tag is a single word."""
    tricks: Sequence[str]
    folder: Path
    """The run folder."""
    settings: Mapping[str, Any]
    """All settings that decide the run's numbers, by dotted path; its tricks; its folder."""

    @property
    def labels(self) -> list[str]:
        """The tags and the tricks, each as one word."""
        return [*(f"{name}={value}" if value else name for name, value in self.tags.items()), *self.tricks]


def identify(config: Config, folder: Path) -> Identity:
    """Name a run for trackers.

    Args:
        config: of the run.
        folder: of the run. The members of an ensemble have folders inside that of the ensemble.
    """
    settings, parts = config.tracker, folder.parts
    name, group = settings.name or folder.name, settings.group
    if MEMBERS in parts:
        first = len(parts) - parts[::-1].index(MEMBERS)
        ensemble = settings.name or parts[first - 2]
        name, group = "/".join([ensemble, *parts[first:]]), group or ensemble
    tags = {tag.partition("=")[0]: tag.partition("=")[2] for tag in settings.tags}
    tricks = sorted(config.tricks)
    values = dict(flatten(deciding_values(as_values(config))))
    values |= {"tricks": "+".join(tricks) or "none", "folder": str(folder)}
    return Identity(settings.project, group, name, tags, tricks, folder, values)


def label_in_sweep(config: Config, sweep: Path, overrides: Sequence[str]) -> None:
    """Fill in the group and the name of a run in a sweep, where the user or the study has not set them.

    Args:
        config: of the run.
        sweep: the folder of the sweep.
        overrides: of this run.
    """
    settings, tricks = config.tracker, "+".join(sorted(config.tricks)) or "base"
    others = [line for line in (each.lstrip("+") for each in overrides) if not line.startswith(ALIKE)]
    words = [line.removeprefix("tricks.").removeprefix("train.") for line in others]
    settings.group = settings.group or sweep.name
    settings.name = settings.name or " ".join([tricks, *words, f"s{config.seed}"])


def flatten(values: Mapping[str, Any], separator: str = ".") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries with the path of their names; a list is written as in YAML."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from ((f"{name}{separator}{rest}", leaf) for rest, leaf in flatten(value, separator))
        else:
            yield str(name), as_yaml(value) if isinstance(value, list) else value if value != {} else ""
