"""The arguments of a command line before Hydra reads them: options, old names, and values that Hydra cannot parse."""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from recipes.compose.folders import explain_unusable
from recipes.config import CONF, Config, renamed_settings
from recipes.errors import UserError
from recipes.runs.files import expand_home, is_shared_folder

# Hydra's functions of a value, such as choice(a,b).
FUNCTION = re.compile(r"(choice|range|interval|glob|sort|shuffle|tag|extend_list|int|float|str|bool|json_str)\((.*)\)")
# Settings of Hydra that name a folder.
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")
CONFIG_DIR = "--config-dir"
# Every way in which people write a choice of tricks.
TRICKS = re.compile(r"[-+~]*tricks?\b(?![.@])[^\w]*.*")


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command line, as Hydra can read them: overrides first, then options.

    Raises:
        UserError: an option does not exist or lacks its value.
    """
    overrides, options = split_options([_decode(argument) for argument in arguments])
    return [*prepare_overrides(overrides), *options]


def prepare_overrides(overrides: Iterable[str]) -> list[str]:
    """The same overrides with new names of settings, and with quotes around values that Hydra cannot parse.

    Raises:
        UserError: tricks are chosen twice; Hydra would silently take the last choice.
    """
    overrides = list(overrides)
    choices = [override for override in overrides if override.startswith("+tricks=")]
    if len(choices) > 1:
        raise UserError(explain_tricks(choices))
    checked = map(_check_hydra, with_new_names(overrides))
    # Names of tricks never need quotes, and a message about them should show what was typed.
    return [override if TRICKS.fullmatch(override) else quote(override) for override in checked]


def _check_hydra(override: str) -> str:
    """Check values of Hydra that it does not check, and expand `~` in the folder of runs, which it takes as a name.

    Raises:
        UserError: the folder of runs holds other things, or a value is of a wrong type.
    """
    name, _, value = override.partition("=")
    if (
        name == "hydra.verbose"
        and (parsed := parse_override(override))
        and not isinstance(parsed.value(), bool | str | list)
    ):
        raise UserError(f"{override}: hydra.verbose must be true, false, the name of a logger, or a list of names.")
    if name not in FOLDERS:
        return override
    folder = expand_home(value.strip("'\""))
    if is_shared_folder(folder):
        raise UserError(f"{override}: runs need a folder of their own; name a new one, such as {name}=runs/mine.")
    return f"{name}={folder}" if value[:1] == "~" else override


def _decode(argument: str) -> str:
    """An argument as UTF-8, also where the locale of the terminal has ASCII only."""
    return os.fsencode(argument).decode("utf-8", "surrogateescape")


def split_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate overrides from Hydra's options, such as `-m` and `--config-dir conf`.

    Raises:
        UserError: an option does not exist or lacks its value.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    # Without this, --epochs would be read as the start of a longer option.
    parser.allow_abbrev = False
    try:
        parsed, unknown = parser.parse_known_intermixed_args(list(arguments))
    except argparse.ArgumentError as error:
        raise UserError(f"{error.argument_name or 'an option'}: {error.message}; --hydra-help lists all.") from error
    # Hydra itself ends with a traceback here.
    for option, value in (("--resolve", parsed.resolve and not parsed.help), ("--package", parsed.package)):
        if value and not parsed.cfg:
            raise UserError(f"{option} is about the config that --cfg prints; write --cfg=job {option}.")
    # Hydra says nothing of a folder that has no config; it reports one that does not exist.
    folder = parsed.config_dir
    if (
        folder
        and Path(folder).is_dir()
        and not parsed.config_name
        and (problem := explain_unusable(folder, CONFIG_DIR))
    ):
        raise UserError(problem)
    if unknown := [argument for argument in unknown if argument.startswith("-")]:
        raise UserError(*_explain_options(unknown, arguments))
    options = list(arguments)
    for override in parsed.overrides:
        options.remove(override)
    return parsed.overrides, options


def _explain_options(unknown: Sequence[str], arguments: Sequence[str]) -> Iterator[str]:
    """What to write in place of options that do not exist."""
    for option in unknown:
        if TRICKS.fullmatch(option):
            pieces = arguments[arguments.index(option) :]
            yield explain_tricks(pieces[: len_of_list(pieces)])
            continue
        name, equals, value = option.lstrip("-").partition("=")
        following = arguments[arguments.index(option) + 1 :]
        if not equals and following and "=" not in following[0] and not following[0].startswith("-"):
            value = following[0]
        name = name.replace("-", "_")
        line = counterpart(name, value) or (f"{name}={value or '<value>'}" if field_at(name.split(".")) else None)
        advice = f"settings are written without dashes, as {line}." if line else "--help and --hydra-help list all."
        yield f"{option}: there is no such option; {advice}"


def counterpart(name: str, value: Any = None) -> str | None:
    """The override that a name from another program stands for, such as `train.learning_rate=1e-5` for `lr`."""
    names = _names_elsewhere()
    if name not in names:
        return None
    line = names[name]
    # A value may have another name here too: metric=f1 is evaluate.metric=macro_f1.
    setting = line.partition("=")[0]
    if names.get(str(value), "").startswith(f"{setting}="):
        return names[str(value)]
    return line if value in (None, "") else line.replace("<value>", str(value))


def _names_elsewhere() -> Mapping[str, str]:
    """The names of settings in other programs, and our own without their section, each with the override to write."""
    elsewhere: dict[str, str] = yaml.safe_load((CONF / "elsewhere.yaml").read_text(encoding="utf-8"))
    sections = [section for section in fields(Config) if is_dataclass(section.type)]
    for section in sections:
        for item in fields(section.type):  # type: ignore[arg-type]
            elsewhere.setdefault(item.name, f"{section.name}.{item.name}=<value>")
    return elsewhere


def explain_tricks(arguments: Sequence[str]) -> str:
    """The right form of a choice of tricks that is written in another form, possibly in several arguments."""
    names = re.findall(r"[A-Za-z_]\w*", " ".join(arguments))
    selection = [name for name in names if name not in ("tricks", "trick", "null", "None")]
    return (
        f"{' '.join(arguments)}: tricks are chosen by one list without spaces; write "
        f"'+tricks=[{','.join(selection) or '<name>,<name>'}]', in quotes."
    )


def len_of_list(arguments: Sequence[str]) -> int:
    """How many of the arguments belong to the list that the first one opens; 1 if it opens none.

    A list that holds spaces arrives in pieces, the last of which closes it.
    """
    if arguments[0].count("[") <= arguments[0].count("]") and not arguments[0].startswith("-"):
        return 1
    for number, argument in enumerate(arguments[1:], 2):
        if "=" in argument or argument.startswith("-"):
            return number - 1
        if argument.endswith("]"):
            return number
    return len(arguments)


def with_new_names(arguments: Iterable[str]) -> list[str]:
    """The same arguments where a setting that has a new name is called by it; a line on standard error says so."""
    names = renamed_settings()
    renamed = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        path = name.lstrip("+~")
        if equals and path in names:
            sentence = f"note: {path} is called {names[path]} now; the old name goes with the next release."
            print(sentence, file=sys.stderr)
            argument = f"{name.removesuffix(path)}{names[path]}={value}"
        renamed.append(argument)
    return renamed


def quote(override: str) -> str:
    """Put quotes around a value that Hydra cannot parse, or would not take as the text that it is.

    Letters other than a-z and characters such as `~` and `=` are then what they look like. Brackets, braces and commas
    keep their meaning of lists, mappings and sweeps.

    Example:
        >>> quote("data.text=文本")
        "data.text='文本'"
        >>> quote("data.train=~/my data (1).csv")
        "data.train='~/my data (1).csv'"
    """
    name, equals, value = override.partition("=")
    if not equals:
        return override
    is_text = _is_text(name.lstrip("+"))
    quoted = f"{name}={_quote_value(value, name, is_text)}"
    return quoted if parse_override(quoted) is not None else override


def _quote_value(value: str, name: str, is_text: bool) -> str:
    """Quote the elements of a list, the values of a mapping, or the value itself, where they need it."""
    text = value.strip()
    if text[:1] == "[" and text[-1:] == "]":
        return f"[{','.join(_quote_value(element, name, is_text) for element in _split(text[1:-1]))}]"
    if text[:1] == "{" and text[-1:] == "}":
        pairs = [element.partition(":") for element in _split(text[1:-1])]
        return f"{{{','.join(f'{key}{colon}{_quote_value(rest, name, is_text)}' for key, colon, rest in pairs)}}}"
    if call := FUNCTION.fullmatch(text):
        inside = [_quote_value(element, name, is_text) for element in _split(call[2])]
        if parse_override(f"{name}={value}"):
            return value
        # Hydra drops quotes inside choice(), but not those of the same choice without it.
        return ",".join(inside) if call[1] == "choice" else f"{call[1]}({','.join(inside)})"
    if text[:1] in ("[", "{"):  # opened and not closed
        return value
    elements = _split(value)
    if len(elements) > 1:
        return ",".join(_quote_value(element, name, is_text) for element in elements)
    parsed = parse_override(f"{name}={value}")
    if parsed is not None and not parsed.is_sweep_override():
        read = parsed.value()
        # A column called 1e3 or true is not a number or a truth value.
        is_changed = is_text and isinstance(read, bool | int | float) and str(read) != text
        if not is_changed:
            return value
    return in_quotes(text)


def in_quotes(text: str) -> str:
    """A text as Hydra reads it back, whatever it holds."""
    # Hydra reads backslashes before a quote, and at the end, as escapes; elsewhere they are characters.
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + match[2].replace("'", "\\'"), text)
    return f"'{escaped}'"


def _split(text: str) -> list[str]:
    """Split at the commas that are not inside quotes, brackets, braces or parentheses."""
    parts, depth, quoted, start = [], 0, "", 0
    for index, character in enumerate(text):
        if quoted:
            quoted = "" if character == quoted and text[index - 1] != "\\" else quoted
        elif character in "'\"" and not text[start:index].strip():
            quoted = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth <= 0 and text[index - 1 : index] != "\\":
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


def parse_override(override: str) -> Override | None:
    """Parse an override; None if Hydra cannot."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def field_at(path: Sequence[str]) -> Field[Any] | None:
    """The field of the schema that a dotted path names."""
    kind: Any = Config
    item: Field[Any] | None = None
    for part in path:
        if not is_dataclass(kind):
            return None
        item = next((each for each in fields(kind) if each.name == part), None)
        kind = item and item.type
    return item


def _is_text(path: str) -> bool:
    """Whether a setting holds text, or texts: `data.label` may be a list, for which the schema has no type."""
    item = field_at(path.split("."))
    return item is not None and item.type in (str, str | None, Any)
