"""What values a config field may hold, said once, in the class: checked on loading, printed in errors and tables."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.errors import nearest

KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "text", dict: "a mapping", list: "a list"}


def allowed(values: str) -> Any:
    """A dataclass field without a default that holds only these values.

    Args:
        values: an interval such as `"(0, 1]"` or `"[1, inf)"`, or words such as `"best | last"`.
    """
    return dataclasses.field(metadata={"allowed": values})


def is_allowed(value: Any, values: str) -> bool:
    """Whether a value is inside an interval or among the words."""
    if not values:
        return True
    if values[0] not in "[(":
        return value in [word.strip() for word in values.split("|")]
    low, high = (float(end) for end in values[1:-1].split(","))
    if not isinstance(value, int | float) or math.isnan(value):
        return False
    above = value >= low if values[0] == "[" else value > low
    below = value <= high if values[-1] == "]" else value < high
    return above and below


def out_of_range(settings: Any, path: str) -> Iterator[str]:
    """A sentence for each field of a dataclass instance, and of those inside it, that holds a value it may not."""
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        values = item.metadata.get("allowed")
        if dataclasses.is_dataclass(value):
            yield from out_of_range(value, f"{path}{item.name}.")
        elif values and value is not None and not is_allowed(value, values):
            yield f"{path}{item.name} must be {describe_field(item)}, got {value}."


def instantiate(
    kind: type, values: DictConfig, path: str, attributes: Mapping[str, object] | None = None
) -> tuple[Any, list[str]]:
    """Merge values into a dataclass's schema.

    Args:
        kind: the dataclass.
        values: of its fields.
        path: of the values, for the user.
        attributes: of the instance, no fields; `__post_init__` finds them there already.

    Returns:
        The instance, or None, and a sentence for each key that is unknown, missing or of the wrong type.
    """
    schema = OmegaConf.structured(kind)
    names = [item.name for item in dataclasses.fields(kind)]
    problems = []
    present = [str(key) for key in values if not OmegaConf.is_missing(values, key)]
    for name in present:
        if name not in names:
            problems.append(f"{path}.{name} does not exist; {nearest(name, names)}")
            continue
        try:
            schema[name] = values[name]
        except OmegaConfBaseException:
            item = next(each for each in dataclasses.fields(kind) if each.name == name)
            value = "null" if values[name] is None else repr(values[name])
            problems.append(f"{path}.{name} must be {describe_field(item)}, got {value}.")
    missing = [name for name in names if name not in present]
    problems += [f"{path}.{name} has no value; set it in the YAML file that selects it." for name in missing]
    if problems:
        return None, problems
    arguments: Mapping[str, Any] = OmegaConf.to_container(schema)  # type: ignore[assignment]
    try:
        made: Any = object.__new__(kind)
        vars(made).update(attributes or {})
        made.__init__(**arguments)
        return made, []
    except ValueError as error:
        return None, [f"{path}.{line}" for line in str(error).splitlines()]


def as_yaml(value: object) -> str:
    """A value as YAML and the command line have it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def describe_field(item: dataclasses.Field[Any]) -> str:
    """What a field may hold, in words: `a number in (0, 1]`."""
    union = isinstance(item.type, types.UnionType)
    kind: Any = next(each for each in typing.get_args(item.type) if each is not types.NoneType) if union else item.type
    kind = typing.get_origin(kind) or kind
    values = item.metadata.get("allowed", "")
    said = KINDS.get(kind, getattr(kind, "__name__", str(kind)))
    if values:
        said = f"{said} in {values}" if values[0] in "[(" else f"one of {values}"
    return f"{said} or null" if union else said
