"""From a composed config to the typed one, with every problem of its values."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, cast, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.compose.tracker_packages import unusable_settings
from recipes.config import Config, label_setting, renamed_settings
from recipes.errors import UserError, describe, nearest
from recipes.ranges import KINDS, as_yaml, out_of_range

# Entries of metrics.json and files of the run folder; an extra split cannot have one of these names.
RESERVED_NAMES = (
    "train",
    "validation",
    "test",
    "format",
    "candidates",
    "health",
    "early_stop",
    "weights",
    "cost",
    "seams",
    "labels",
    "classes",
    "unscored",
    "versions",
    "seed",
    "tricks",
    "forgetting",
    "calibration",
    "ensemble",
    "out_of_fold",
    "ingredients",
)


def read(composed: DictConfig) -> Config:
    """Turn a composed config into the typed one.

    Raises:
        UserError: with every value that is unknown, out of range, missing, or set where nobody reads it.
    """
    if unknown := list(_unknown(composed, Config, "")):
        raise UserError(*unknown)
    try:
        config = cast(Config, OmegaConf.to_object(composed))
        config.data.label = label_setting(config.data.label)
    except OmegaConfBaseException as error:
        raise UserError(describe(error)) from error
    if problems := [
        *out_of_range(config, ""),
        *_mislabelled(config),
        *_incomplete(config),
        *_unread(config),
        *_misplaced_fold(config),
        *_misnamed_splits(config),
        *unusable_settings(config.tracker),
    ]:
        # This loads torch; it is worth the seconds to report all mistakes at once.
        from recipes.compose.tricks import build
        from recipes.compose.trust import trusting

        try:
            with trusting(config.trusted):
                build(config.tricks)
        except UserError as error:
            problems += error.problems
        raise UserError(*problems)
    return config


def _unknown(node: DictConfig, kind: type, path: str) -> Iterator[str]:
    """Settings that do not exist. Hydra accepts them, since `+name=value` adds one to any schema."""
    known: dict[str, Any] = {item.name: item.type for item in fields(kind)}
    for key in map(str, node):
        if f"{path}{key}" in renamed_settings():
            yield f"{path}{key} is called {renamed_settings()[f'{path}{key}']} now; rename it."
        elif key not in known:
            yield f"{path}{key} does not exist; {nearest(key, known)}"
        # An interpolation such as seeds=${seed} passes the schema, but may be neither a mapping nor a list.
        elif (is_dataclass(known[key]) or get_origin(known[key]) is dict) and not OmegaConf.is_dict(node[key]):
            yield f"{path}{key} must be a mapping of settings, got {node[key]}; set them one by one."
        elif get_origin(known[key]) is list and not OmegaConf.is_list(node[key]):
            yield f"{path}{key} must be {KINDS[list]}, got {node[key]}."
        elif is_dataclass(known[key]):
            yield from _unknown(node[key], cast(type, known[key]), f"{path}{key}.")
        elif key == "tricks":
            for name, value in node.tricks.items():
                if not OmegaConf.is_dict(value):
                    yield f"tricks.{name}={value}: a trick has settings; write tricks.{name}.<setting>=<value>."


def _mislabelled(config: Config) -> Iterator[str]:
    """Values of `data.label` that name no column, or one twice; its type in the schema allows any value."""
    label = config.data.label
    names = label if isinstance(label, list) else [label]
    if not names or not all(isinstance(name, str) and name for name in names):
        yield (
            "data.label must be a column, or a list of columns with 0 or 1 for one label each, such as [toxic,insult]; "
            f"got {as_yaml(label)}."
        )
    elif len(set(names)) < len(names):
        yield f"data.label={as_yaml(label)} names a column twice; name each once."
    elif isinstance(label, list) and config.data.label_separator is not None:
        yield (
            f"data.label_separator={config.data.label_separator}: with a column for each label, "
            f"data.label={as_yaml(label)}, nothing is separated; leave it out."
        )


def _incomplete(config: Config) -> Iterator[str]:
    """Settings that the chosen sources need and that are not set."""
    data, model = config.data, config.model
    if data.source == "files" and not data.train:
        yield "data.train is not set; data=files needs data.train=<path of a CSV, TSV, JSONL or Parquet file>."
    if data.source == "hub" and not data.train:
        yield "data.train is not set; data=hub needs data.train=<a split's name>."
    if data.source == "hub" and not data.name:
        yield "data.name is not set; data=hub needs data.name=<owner/name>."
    if model.source == "hub" and not model.name:
        yield "model.name is not set; model=hub needs model.name=<owner/name, or a local folder>."


def _unread(config: Config) -> Iterator[str]:
    """Settings that the chosen sources ignore: a forgotten `data=files` would train on other texts."""
    data, model = config.data, config.model
    both = ("train", "validation", "test", "text_pair", "id", "group", "label_separator")
    of_files = {"header": ["files"], "encoding": ["files"]}
    readers = {"name": ["hub"], "subset": ["hub"], **of_files, **dict.fromkeys(both, ["files", "hub"])}
    for name, sources in readers.items():
        value = getattr(data, name)
        if value not in (None, True) and data.source in ("pydocs", "files", "hub") and data.source not in sources:
            choices = " or ".join(f"data={source}" for source in sources)
            shown = "false" if value is False else value
            yield f"data.{name}={shown}: data={data.source} does not read it; choose {choices}, or leave it out."
    if model.name is not None and model.source != "hub":
        yield f"model.name={model.name}: model={model.source} does not read it; choose model=hub, or leave it out."
    if model.trim_vocabulary and model.source in ("tiny", "linear"):
        yield (
            f"model.trim_vocabulary=true: model={model.source} does not read it, since its vocabulary is made of the "
            "training texts; choose model=e5, or leave it out."
        )


def _misplaced_fold(config: Config) -> Iterator[str]:
    """A fold that is no fold of the partition, or next to a validation split of its own."""
    data = config.data
    if data.fold is None:
        return
    if data.validation and data.source != "pydocs":
        yield (
            f"data.fold={data.fold}: data.validation={data.validation} is a split of its own, so there are no folds; "
            "set data.validation=null to cut folds from the training rows, or leave data.fold out."
        )
    if data.fold >= data.fold_count:
        yield (
            f"data.fold={data.fold}: data.validation_fraction={data.validation_fraction:g} makes {data.fold_count} "
            f"folds of the rows that are not test; allowed: 0 to {data.fold_count - 1}."
        )


def _misnamed_splits(config: Config) -> Iterator[str]:
    """Extra splits whose names cannot be file names, or are reserved."""
    for name in config.evaluate.extra:
        if name in RESERVED_NAMES or not re.fullmatch(r"\w[\w-]*", name):
            reserved = ", ".join(RESERVED_NAMES)
            yield f"evaluate.extra.{name}: a name must be of letters, digits, - and _, and none of {reserved}."
