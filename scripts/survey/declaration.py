"""The declaration of the atlas, docs/atlas/atlas.yaml: the data sets, encoders, tricks and lengths that it compares.

A study is a group of tricks whose combinations make sense, on some of the data sets. A trick is a line of its study,
whose value lists overrides, mostly none. A data set is trained with every encoder of its language.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from recipes.errors import UserError, nearest


@dataclass(frozen=True)
class Encoder:
    """A pretrained model."""

    language: str
    overrides: Sequence[str]
    always: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    """Tricks that are on in every run of a study with this encoder, with their overrides."""


@dataclass(frozen=True)
class DataSet:
    """A data set; its name is that of its folder."""

    language: str
    overrides: Sequence[str] = ()
    folds: int = 5
    """Parts of validation rows, over which the seeds rotate; 1: it has too few rows."""


@dataclass(frozen=True)
class Study:
    """Tricks that are compared in one design."""

    question: str
    data: Sequence[str]
    updates: Sequence[int]
    """The lengths, each a study of its own."""
    tricks: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    """The overrides of each trick that is a factor; none of them: the base alone."""
    always: Sequence[str] = ()
    """Tricks that are on in every run."""
    overrides: Sequence[str] = ()
    design: str = "auto"
    arms: int = 16
    """The most arms of a design `auto`."""
    metric: str = "accuracy"
    """The first endpoint; the second one is the log loss."""


@dataclass(frozen=True)
class Atlas:
    """The whole declaration."""

    rows: int
    """Training rows of a run, other ones for each seed."""
    validation_rows: int
    margin: float
    """Effects smaller than this do not matter."""
    overrides: Sequence[str]
    """Overrides of all runs."""
    encoders: Mapping[str, Encoder]
    data: Mapping[str, DataSet]
    studies: Mapping[str, Study]
    left_out: Mapping[str, str]
    """Tricks that are in no study, each with the reason."""


def read_declaration(path: Path) -> Atlas:
    """Read the declaration.

    Raises:
        UserError: a study names a data set that is not declared.
    """
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    kinds = {"encoders": Encoder, "data": DataSet, "studies": Study}
    for section, kind in kinds.items():
        values[section] = {
            name: build(kind, f"{path}: {section}.{name}", each) for name, each in values[section].items()
        }
    atlas = Atlas(**values)
    for name, study in atlas.studies.items():
        check_names(f"{path}: studies.{name}.data", study.data, atlas.data)
    return atlas


def build(kind: type[Any], where: str, values: Mapping[str, Any] | None) -> Any:
    """Build a part of a declaration from its values.

    Raises:
        UserError: a value has another name, or one is missing.
    """
    check_names(where, values or (), {each.name: each for each in fields(kind)})
    try:
        return kind(**(values or {}))
    except TypeError as error:  # dataclasses name what is missing
        raise UserError(f"{where}: {str(error).partition(' ')[2]}.") from None


def check_names(where: str, selected: Iterable[str], declared: Mapping[str, Any]) -> None:
    """Refuse names that are not declared.

    Raises:
        UserError: with the nearest one.
    """
    for name in selected:
        if name not in declared:
            raise UserError(f"{where}: {name!r} is not declared; {nearest(name, declared)}")
