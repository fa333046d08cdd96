"""Settings as keyword arguments of Python: `epochs=1`, `model="tiny"`, `tricks=["mixup"]`, to overrides."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from recipes.compose.arguments import counterpart, in_quotes
from recipes.config import Config
from recipes.errors import UserError, list_names, nearest
from recipes.ranges import escape_interpolations

# Groups of `conf/` that a keyword chooses a file of, and no section of the schema.
GROUPS = ("recipe",)
# Keywords whose setting is none of the schema.
OF_HYDRA = {"folder": "hydra.run.dir"}
# Hydra takes these words for other values than text.
WORDS = ("null", "none", "true", "false", "nan", "inf")
PLAIN = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
NAME = re.compile(r"\w+")
QUOTE = "'"


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Write keyword arguments as overrides.

    Args:
        settings: by the name of a setting, where one section alone has it (`epochs`); by its path, with `__` for each
            dot (`train__epochs`) or with dots; or by a section, with a mapping of its settings.

    Raises:
        UserError: with every name that no setting has, or more than one.

    Example:
        >>> as_overrides({"model": "tiny", "epochs": 2, "checkpoint__every": 0.5, "tricks": ["mixup"]})
        ['model=tiny', 'train.epochs=2', 'checkpoint.every=0.5', '+tricks=[mixup]']
        >>> as_overrides({"tricks": {"mixup": {"alpha": 0.2}}, "evaluate": {"metric": "macro_f1"}})
        ['+tricks=[mixup]', 'tricks.mixup.alpha=0.2', 'evaluate.metric=macro_f1']
    """
    overrides, problems = list[str](), list[str]()
    for name, value in settings.items():
        try:
            overrides += _write(name, value)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return overrides


def _write(name: str, value: Any) -> Iterator[str]:
    if name == "tricks":
        yield from _choose_tricks(value)
    else:
        yield from _write_values(_find_path(name), value)


def _write_values(path: str, value: Any) -> Iterator[str]:
    """The override of a setting, or of each setting of a mapping."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _write_values(f"{path}.{name}", inner)
    else:
        yield f"{path}={as_text(value, path)}"


def _choose_tricks(value: Any) -> Iterator[str]:
    """The override that chooses tricks, and those of their settings."""
    is_list = isinstance(value, Mapping | list | tuple | set | frozenset)
    names = list(value) if is_list else [value]
    if wrong := [name for name in names if not isinstance(name, str) or not name.isidentifier()]:
        raise UserError(
            f"tricks={value!r}: {wrong[0]!r} is not the name of a trick; write a list of names, tricks=['<name>'], or "
            "their settings too, tricks={'<name>': {'<setting>': <value>}}."
        )
    if names:
        yield f"+tricks=[{','.join(names)}]"
    for name, settings in value.items() if isinstance(value, Mapping) else ():
        yield from _write_values(f"tricks.{name}", settings or {})


def _find_path(name: str) -> str:
    """Find the setting that a keyword names.

    Raises:
        UserError: there is none, or two sections have one.
    """
    path = OF_HYDRA.get(name) or name.replace("__", ".")
    top = [item.name for item in fields(Config)]
    if "." in path or path in (*top, *GROUPS):
        return path
    homes = _find_homes()
    if len(homes.get(path, ())) == 1:
        return homes[path][0]
    if path in homes:
        listing = list_names(homes[path], quoted=False, last=" and ")
        keywords = " or ".join(home.replace(".", "__") for home in homes[path])
        raise UserError(f"{name}: {listing} are two settings; write {keywords}.")
    if line := counterpart(path):
        raise UserError(f"{name}: there is no such setting; write {_as_keyword(line.strip(QUOTE), homes)}.")
    raise UserError(f"{name}: there is no such setting; {nearest(path, {*top, *GROUPS, *OF_HYDRA, *homes})}")


def _as_keyword(line: str, homes: Mapping[str, Sequence[str]]) -> str:
    """Write an override as a keyword argument."""
    path, _, value = line.partition("=")
    if path == "+tricks":
        return f"tricks={re.findall(NAME, value)}"
    short = path.rpartition(".")[2]
    of_hydra = {setting: keyword for keyword, setting in OF_HYDRA.items()}
    return f"{of_hydra.get(path) or (short if len(homes.get(short, ())) == 1 else path.replace('.', '__'))}={value}"


def _find_homes() -> dict[str, list[str]]:
    """The dotted paths of the settings of all sections, by the name of the setting."""
    homes: dict[str, list[str]] = {}
    for section in fields(Config):
        if is_dataclass(section.type):
            for item in fields(section.type):
                homes.setdefault(item.name, []).append(f"{section.name}.{item.name}")
    return homes


def as_text(value: Any, setting: str) -> str:
    """Write a value as Hydra reads it back.

    Args:
        value: None, a truth value, a number, a text, a path, or a list of them.
        setting: the setting that has it, for the message.

    Raises:
        UserError: it is of another kind.

    Example:
        >>> as_text("a, b", "text"), as_text([1, None], "lengths"), as_text(True, "resume")
        ("'a, b'", '[1,null]', 'true')
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        text = str(value)
        return text if PLAIN.fullmatch(text) and text.lower() not in WORDS else in_quotes(escape_interpolations(text))
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{','.join(as_text(each, setting) for each in value)}]"
    raise UserError(
        f"{setting}: a value of type {type(value).__name__} cannot be a setting; write a text, a number or a list."
    )
