"""From overrides to a composed config, and what to say where that fails: every mistake at once, in our own words."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.config import CONF, Config, renamed_settings
from recipes.errors import UserError, describe, nearest
from recipes.ranges import describe_field

# What Hydra cannot find where the package of that name is not there.
PLUG_IN = re.compile(r"'hydra/(?:launcher|sweeper)/(joblib|submitit|ray|optuna)(?:_local|_slurm|_aws)?'")


def compose_config(overrides: Sequence[str]) -> tuple[DictConfig, Path]:
    """Compose `conf/train.yaml` with overrides, as the command line does.

    Returns:
        The config and the run folder.

    Raises:
        UserError: with every override that is wrong.
    """
    overrides = with_new_names(overrides)
    with explained(overrides), _of_our_own():
        composed = compose("train", overrides, return_hydra_config=True)
        folder = Path(composed.hydra.run.dir)
        HydraConfig.instance().set_config(composed)
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return composed, folder


def with_new_names(arguments: Sequence[str]) -> list[str]:
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


@contextmanager
def _of_our_own() -> Iterator[None]:
    """Inside this context Hydra composes `conf/`; what it was about before, a command line perhaps, comes back."""
    held = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = held


def config_folders() -> list[str]:
    """The folders beside `conf/` in which the config that was composed last found its parts."""
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    return [source.path for source in sources if source.schema == "file" and source.provider not in ("main", "hydra")]


@contextmanager
def explained(arguments: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra says of a command line into our own words, all mistakes at once."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(*(mistakes(arguments) or [describe(error)])) from error
    except yaml.YAMLError as error:
        raise UserError(f"a YAML file cannot be read: {' '.join(str(error).split())}.") from error
    except ValueError as error:
        # Hydra lets a few of its own pass as this, such as that of `data=null`.
        if sentences := mistakes(arguments):
            raise UserError(*sentences) from error
        raise


def mistakes(arguments: Sequence[str]) -> list[str]:
    """A sentence for each override that cannot be composed with those before it."""
    parsed = get_args_parser().parse_args(list(arguments))
    name = parsed.config_name or "train"
    sweeps = parsed.multirun or any(line.startswith("hydra.mode=") for line in parsed.overrides)
    sentences: list[str] = []
    accepted: list[str] = []
    with _of_our_own():
        if parsed.config_dir:
            sentences += _look_also_in([parsed.config_dir], "--config-dir")
        for line in sorted(parsed.overrides, key=_turn):
            try:
                override = OverridesParser.create().parse_override(line)
                choices = list(_single(override))
            except HydraException:
                sentences.append(
                    f"{line} cannot be read as an override; write it as name=value, and put quotes around a value "
                    "that holds a space or one of = , : ; [ ] { } ( ) # ! & ^ ~ < >, inside those of the shell: "
                    "'name=\"a, b\"'."
                )
                continue
            if override.key_or_group == "hydra.searchpath":
                sentences += _look_also_in(override.value(), "hydra.searchpath")
                continue
            if override.is_delete():
                sentences.append(f"{line}: nothing can be taken away; set another value (null, where it may be empty).")
                continue
            if len(choices) > 1 and not sweeps:
                sentences.append(
                    f"{line}: several values are a sweep, which needs -m; one value that holds a comma needs quotes: "
                    f"'{_key(line)}=\"a, b\"'."
                )
            for choice in choices:
                try:
                    compose(name, [*accepted, choice], return_hydra_config=True)
                except (HydraException, OmegaConfBaseException, ValueError) as error:
                    sentences.append(_explain(choice, name, accepted, error))
                    break
            else:
                accepted.append(choices[0])
    return sentences


def _look_also_in(places: Any, setting: str) -> Iterator[str]:
    """Let Hydra find configs in more folders; a sentence for each that is not there."""
    if not isinstance(places, list):
        yield f"{setting} must be a list of folders, got {places}."
        return
    loader: Any = GlobalHydra.instance().config_loader()
    for place in places:
        if "://" not in place and not Path(place).is_dir():
            yield f"{setting}={place}: there is no such folder."
            continue
        path = place if "://" in place else f"file://{Path(place).resolve()}"
        loader.config_search_path.prepend(setting, path, SearchPathQuery(provider="schema"))
    loader.repository.initialize_sources(loader.config_search_path)


def _key(line: str) -> str:
    return line.partition("=")[0].lstrip("+~")


def _turn(line: str) -> int:
    """Where to look for groups, then groups, then values, so that a value finds the group that it belongs to."""
    return 0 if _key(line) == "hydra.searchpath" else 2 if "." in _key(line) else 1


def _single(override: Override) -> Iterator[str]:
    """An override, or each of the overrides that it sweeps over."""
    if override.is_sweep_override():
        prefix = (override.input_line or "").partition("=")[0]
        yield from (f"{prefix}={value}" for value in override.sweep_string_iterator())
    else:
        yield override.input_line or ""


def _explain(line: str, config_name: str, accepted: Sequence[str], error: Exception) -> str:
    if lacking := PLUG_IN.search(str(error)):
        return f"{line} needs a plug-in of Hydra: pip install -e '.[{lacking[1]}]'."
    override = OverridesParser.create().parse_override(line)
    name, value = override.key_or_group, override.value()
    loader = GlobalHydra.instance().config_loader()
    if options := loader.get_group_options(name):
        if name == "tricks" and not line.startswith("+"):
            return f"{line}: tricks are added to what is chosen so far; write +{line}."
        kind = "trick" if name == "tricks" else name
        chosen = ["null" if each is None else str(each) for each in (value if isinstance(value, list) else [value])]
        if unknown := [each for each in chosen if each not in options]:
            return " ".join(f"{name}={each}: there is no such {kind}; {nearest(each, options)}" for each in unknown)
        if name != "tricks" and line.startswith("+"):
            return f"{line}: {name} is chosen, not added; write {line[1:]}."
        return f"{line}: {describe(error)}"
    composed = compose(config_name, list(accepted), return_hydra_config=True)
    path = name.split(".")
    if path[0] == "tricks" and len(path) > 1 and path[1] not in composed.tricks:
        if path[1] not in loader.get_group_options("tricks"):
            return f"tricks.{path[1]}: there is no such trick; {nearest(path[1], loader.get_group_options('tricks'))}"
        return f"{line}: tricks.{path[1]} has values but is not selected; add +tricks=[{path[1]}]."
    node: Any = composed
    for depth, part in enumerate(path):
        if not isinstance(node, DictConfig) or part not in node:
            known = [key for key in map(str, node) if key != "hydra"] if isinstance(node, DictConfig) else []
            return f"{'.'.join(path[: depth + 1])} does not exist; {nearest(part, known)}"
        node = node[part]
    if item := _field(path):
        return f"{name} must be {describe_field(item)}, got {'null' if value is None else value}."
    return f"{line}: {describe(error.__cause__ or error)}"


def _field(path: Sequence[str]) -> Field[Any] | None:
    """The field of the schema that a dotted path names."""
    kind: Any = Config
    item: Field[Any] | None = None
    for part in path:
        if not is_dataclass(kind):
            return None
        item = next((each for each in fields(kind) if each.name == part), None)
        kind = item and item.type
    return item
