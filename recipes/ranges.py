"""The allowed values of config fields, declared once in the dataclass.

They are checked on loading, and shown in error messages and in the tables of the docs.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.errors import nearest

# The types of fields, in words.
KINDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a mapping",
    list: "a list in brackets, such as [a,b]",
}

# OmegaConf takes a backslash before `${` as an escape, and a double one as a backslash.
INTERPOLATION = re.compile(r"(\\*)\$\{")


@dataclasses.dataclass(frozen=True)
class Advice:
    """The values of a setting that usually work, inside those that are allowed."""

    values: str
    """An interval."""
    source: str = ""
    """Who advises it: a work, or a measurement."""
    below: str = ""
    """What a lower value leads to."""
    above: str = ""
    """What a higher value leads to."""


@dataclasses.dataclass(frozen=True)
class Unadvised:
    """A value outside the range that is advised for its setting."""

    path: str
    value: float
    advice: Advice

    @property
    def is_low(self) -> bool:
        """Whether the value is below the range, not above it."""
        return self.value <= ends(self.advice.values)[0]

    @property
    def consequence(self) -> str:
        """What the value leads to."""
        return (self.advice.below if self.is_low else self.advice.above) or "nobody is known to train well with it"

    @property
    def nearest(self) -> float:
        """The nearest end of the advised range."""
        low, high = ends(self.advice.values)
        return low if self.is_low else high

    def __str__(self) -> str:
        source = f" ({self.advice.source})" if self.advice.source else ""
        side = "below" if self.is_low else "above"
        return f"{self.path}={self.value:g} is {side} the advised range {self.advice.values}{source}."


def allowed(values: str, advised: str = "", source: str = "", below: str = "", above: str = "") -> Any:
    """Declare a dataclass field without a default that may hold only these values.

    Args:
        values: an interval such as `"(0, 1]"` or `"[1, inf)"`, or words such as `"best | last"`; `""` allows any
            value of the type.
        advised: an interval inside it. The doctor warns of values outside; it never refuses them.
        source: who advises it.
        below: what a value below the advised range leads to.
        above: what a value above it leads to.

    Example:
        alpha: float = allowed("(0, inf)", advised="[0.1, 2]", above="all mixtures are halves")
    """
    advice = Advice(advised, source, below, above) if advised else None
    return dataclasses.field(metadata={"allowed": values, "advice": advice})


def ends(values: str) -> tuple[float, float]:
    """The two ends of an interval."""
    low, high = values[1:-1].split(",")
    return float(low), float(high)


def is_allowed(value: Any, values: str) -> bool:
    """Whether a value is inside an interval or among the words; NaN is in no interval."""
    if not values:
        return True
    if values[0] not in "[(":
        return value in [word.strip() for word in values.split("|")]
    low, high = ends(values)
    if not isinstance(value, int | float) or math.isnan(value):
        return False
    above = value >= low if values[0] == "[" else value > low
    below = value <= high if values[-1] == "]" else value < high
    return above and below


def out_of_range(settings: Any, path: str) -> Iterator[str]:
    """Check the fields of a dataclass instance, and those of dataclasses inside it.

    Args:
        settings: the instance.
        path: prefix of the field names in the messages, with its final dot.

    Yields:
        A sentence for each value that is not allowed. Null is checked by the type, not by the range.
    """
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        values = item.metadata.get("allowed")
        if dataclasses.is_dataclass(value):
            yield from out_of_range(value, f"{path}{item.name}.")
        elif values and value is not None and not is_allowed(value, values):
            yield f"{path}{item.name} must be {describe_field(item)}, got {value}."


def outside_advice(settings: Any, path: str) -> Iterator[Unadvised]:
    """Find the values of a dataclass instance, and of dataclasses inside it, that are outside what is advised.

    Args:
        settings: the instance.
        path: prefix of the paths of the settings, with its final dot.
    """
    for name, value, advice in advised_fields(settings):
        if value is not None and not is_allowed(value, advice.values):
            yield Unadvised(f"{path}{name}", value, advice)


def advised_fields(settings: Any) -> Iterator[tuple[str, Any, Advice]]:
    """Yield the dotted name, the value and the advice of each field, also of dataclasses inside, that has advice."""
    for item in dataclasses.fields(settings):
        value, advice = getattr(settings, item.name), item.metadata.get("advice")
        if dataclasses.is_dataclass(value):
            yield from ((f"{item.name}.{name}", *rest) for name, *rest in advised_fields(value))
        elif advice:
            yield item.name, value, advice


def make_settings(
    kind: type, values: Mapping[str, Any], path: str, attributes: Mapping[str, object] | None = None
) -> tuple[Any, list[str]]:
    """Make an instance of a dataclass from config values, with types checked and converted by OmegaConf.

    Args:
        kind: the dataclass.
        values: of its fields, as plain values; no text is evaluated.
        path: of the values in the config, for the messages.
        attributes: further attributes of the instance, which are not fields.

    Returns:
        The instance, or None if there are problems; and a sentence for each key that is unknown or missing, or whose
        value is of the wrong type or not allowed.
    """
    schema = OmegaConf.structured(kind)
    names = [item.name for item in dataclasses.fields(kind)]
    problems = []
    present = [str(name) for name, value in values.items() if value != "???"]
    for name in present:
        if name not in names:
            problems.append(f"{path}.{name} does not exist; {nearest(name, names)}")
            continue
        try:
            schema[name] = escape_interpolations(values[name])
        except OmegaConfBaseException:
            item = next(each for each in dataclasses.fields(kind) if each.name == name)
            value = "null" if values[name] is None else repr(values[name])
            problems.append(f"{path}.{name} must be {describe_field(item)}, got {value}.")
    missing = [name for name in names if name not in present]
    problems += [f"{path}.{name} has no value; set it in the YAML file that selects it." for name in missing]
    if problems:
        return None, problems
    arguments: Mapping[str, Any] = OmegaConf.to_container(schema, resolve=True)  # type: ignore[assignment]
    try:
        # The attributes are set before `__init__`, so that `__post_init__` can read them.
        settings: Any = object.__new__(kind)
        vars(settings).update(attributes or {})
        settings.__init__(**arguments)
        return settings, []
    except ValueError as error:
        return None, [f"{path}.{line}" for line in str(error).splitlines()]


def escape_interpolations(values: Any) -> Any:
    """The same tree of plain values, whose texts OmegaConf reads back as they are: `${oc.env:HOME}` is then a text."""
    if isinstance(values, Mapping):
        return {name: escape_interpolations(value) for name, value in values.items()}
    if isinstance(values, list):
        return [escape_interpolations(value) for value in values]
    if isinstance(values, str) and "${" in values:
        return INTERPOLATION.sub(lambda match: f"{match[1] * 2}\\${{", values)
    return values


def as_yaml(value: object) -> str:
    """Format a value as in YAML and on the command line."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def describe_field(item: dataclasses.Field[Any]) -> str:
    """Describe the values that a field may hold, for instance `a number in (0, 1]`."""
    kind: Any = item.type
    # The only unions in our dataclasses are those with None.
    is_optional = isinstance(kind, types.UnionType)
    if is_optional:
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    if dataclasses.is_dataclass(kind):
        return f"settings of its own, such as {item.name}.{dataclasses.fields(kind)[0].name}=<value>"
    # dict[str, str] -> dict
    kind = typing.get_origin(kind) or kind
    values = item.metadata.get("allowed", "")
    description = KINDS.get(kind, getattr(kind, "__name__", str(kind)))
    if values:
        description = f"{description} in {values}" if values[0] in "[(" else f"one of {values}"
    return f"{description} or null" if is_optional else description
