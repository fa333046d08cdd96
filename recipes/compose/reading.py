"""From a composed config to the typed one, and every complaint about its values."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.config import Config, renamed_settings
from recipes.errors import UserError, describe, nearest
from recipes.ranges import out_of_range

# What metrics.json and the run folder already call by these names.
TAKEN = (
    "train",
    "validation",
    "test",
    "format",
    "candidates",
    "weights",
    "cost",
    "seams",
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
        UserError: with every value that is unknown, out of range, missing, or read by nobody.
    """
    if unknown := list(_unknown(composed, Config, "")):
        raise UserError(*unknown)
    try:
        config = cast(Config, OmegaConf.to_object(composed))
    except OmegaConfBaseException as error:
        raise UserError(describe(error)) from error
    if problems := [*out_of_range(config, ""), *_incomplete(config), *_unread(config), *_badly_named(config)]:
        # Loads torch, which is worth it to tell all that is wrong at once.
        from recipes.compose.tricks import build

        try:
            build(config.tricks)
        except UserError as error:
            problems += error.problems
        raise UserError(*problems)
    return config


def _unknown(node: DictConfig, kind: type, path: str) -> Iterator[str]:
    """A setting that nobody reads is an error: Hydra lets `+name=value` add one to any schema."""
    known = {item.name: item.type for item in fields(kind)}
    for key in map(str, node):
        if f"{path}{key}" in renamed_settings():
            yield f"{path}{key} is called {renamed_settings()[f'{path}{key}']} now; rename it."
        elif key not in known:
            yield f"{path}{key} does not exist; {nearest(key, known)}"
        elif is_dataclass(known[key]):
            yield from _unknown(node[key], cast(type, known[key]), f"{path}{key}.")


def _incomplete(config: Config) -> Iterator[str]:
    """What the chosen source cannot do without."""
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
    """What is set and read by nobody under the chosen source: a forgotten `data=files` would train on other texts."""
    data, model = config.data, config.model
    both = ("train", "validation", "test", "text_pair", "id", "group", "label_separator")
    readers = {"name": ["hub"], "subset": ["hub"], **dict.fromkeys(both, ["files", "hub"])}
    for name, sources in readers.items():
        value = getattr(data, name)
        if value is not None and data.source in ("pydocs", "files") and data.source not in sources:
            choices = " or ".join(f"data={source}" for source in sources)
            yield f"data.{name}={value}: data={data.source} does not read it; choose {choices}, or leave it out."
    if model.name is not None and model.source in ("minilm", "tiny", "linear"):
        yield f"model.name={model.name}: model={model.source} does not read it; choose model=hub, or leave it out."


def _badly_named(config: Config) -> Iterator[str]:
    for name in config.evaluate.extra:
        if name in TAKEN or not re.fullmatch(r"\w[\w-]*", name):
            yield f"evaluate.extra.{name}: a name must be of letters, digits, - and _, and none of {', '.join(TAKEN)}."
