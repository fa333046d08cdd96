"""From overrides to a composed config. Where that fails: every mistake at once, each with what to write instead."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal import hydra as hydra_program
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.compose.arguments import (
    CONFIG_DIR,
    TRICKS,
    counterpart,
    explain_tricks,
    field_at,
    len_of_list,
    parse_override,
    prepare_overrides,
    quote,
)
from recipes.compose.folders import explain_unusable
from recipes.compose.help import fill_template
from recipes.compose.loader import Loader
from recipes.config import CONF
from recipes.errors import UserError, describe, nearest
from recipes.ranges import describe_field

# The config that Hydra cannot find where its plug-in is not installed.
PLUG_IN = re.compile(r"'hydra/(?:launcher|sweeper)/(joblib|submitit|ray|optuna)(?:_local|_slurm|_aws)?'")
# Signs of Chinese text that are typed for those of an override.
HALF_WIDTH = str.maketrans("＝，、：．＋～［］｛｝“”‘’　", "=,,:.+~[]{}\"\"'' ")
FULL_WIDTH_COMMA = re.compile("[，、；]")
KEY_BEYOND_ASCII = re.compile(r"[{,]\s*([^\s:{},'\"]*[^\s:{},'\"\x00-\x7f][^\s:{},'\"]*)\s*:")
# The page of `--help` is part of every config that Hydra composes.
OmegaConf.register_new_resolver("help_page", fill_template, replace=True)
# Hydra makes its loader by this name, and has no setting for another one.
hydra_program.ConfigLoaderImpl = Loader  # type: ignore[attr-defined]


def compose_config(overrides: Sequence[str], config_dir: str | None = None) -> tuple[DictConfig, Path]:
    """Compose `conf/train.yaml` with overrides, as the command line does.

    Args:
        overrides: as after `train.py`.
        config_dir: a further config folder, as the command line names it with `--config-dir`.

    Returns:
        The config and the run folder.

    Raises:
        UserError: with every override that is wrong.
    """
    overrides = prepare_overrides(overrides)
    folders = [] if config_dir is None else [config_dir]
    with explained([*overrides, *(f"{CONFIG_DIR}={folder}" for folder in folders)]), _composing_conf():
        if problems := list(_add_config_folders(folders, CONFIG_DIR)):
            raise UserError(*problems)
        composed = compose("train", overrides, return_hydra_config=True)
        folder = Path(composed.hydra.run.dir)
        HydraConfig.instance().set_config(composed)
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return composed, folder


def start_sweep(overrides: Sequence[str], task: Callable[[DictConfig], Any]) -> Any:
    """Start a sweep in this process, as the command line does with `-m`.

    Args:
        overrides: as after `train.py -m`.
        task: runs one config.

    Returns:
        What its sweeper returns.

    Raises:
        UserError: with every override that is wrong.
    """
    overrides = prepare_overrides(overrides)
    with explained([*overrides, "-m"]), _composing_conf():
        hydra: Any = GlobalHydra.instance().hydra
        return hydra.multirun("train", task, overrides, with_log_configuration=False)


@contextmanager
def _composing_conf() -> Iterator[None]:
    """Inside this context Hydra composes `conf/`. Its state of before, such as a command line's, is restored."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def config_folders() -> list[str]:
    """The folders other than `conf/` in which the last composed config found its parts."""
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    return [source.path for source in sources if source.schema == "file" and source.provider not in ("main", "hydra")]


@contextmanager
def explained(arguments: Sequence[str]) -> Iterator[None]:
    """Inside this context Hydra's error about a command line becomes a `UserError` with every mistake."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(*(mistakes(arguments) or [describe(error)])) from error
    except yaml.YAMLError as error:
        raise UserError(f"a YAML file cannot be read: {' '.join(str(error).split())}.") from error
    except (ValueError, TypeError) as error:
        # Hydra raises some of its errors so, such as those about `data=null` and `+tricks=[null]`.
        if sentences := mistakes(arguments):
            raise UserError(*sentences) from error
        raise


def mistakes(arguments: Sequence[str]) -> list[str]:
    """A sentence for each override that cannot be composed with the ones before it."""
    parsed = get_args_parser().parse_args(list(arguments))
    name = parsed.config_name or "train"
    sweeps = parsed.multirun or any(line.startswith("hydra.mode=") for line in parsed.overrides)
    wrong_tricks = list(_find_wrong_tricks(parsed.overrides, sweeps))
    sentences = [explain_tricks(each) for each in wrong_tricks]
    consumed = [argument for each in wrong_tricks for argument in each]
    accepted: list[str] = []
    with _composing_conf():
        if parsed.config_dir:
            sentences += _add_config_folders([parsed.config_dir], CONFIG_DIR)
        if name not in GlobalHydra.instance().config_loader().get_group_options(""):
            return [*sentences, f"--config-name={name}: there is no such config; leave the option out."]
        for line in sorted((line for line in parsed.overrides if line not in consumed), key=_rank):
            try:
                override = OverridesParser.create().parse_override(line)
                choices = list(_values_of_sweep(override))
            except HydraException:
                sentences.append(_explain_unreadable(line))
                continue
            if not override.key_or_group:
                sentences.append(_explain_unreadable(line))
                continue
            if override.key_or_group == "hydra.searchpath":
                sentences += _add_config_folders(override.value(), "hydra.searchpath")
                continue
            if override.is_delete():
                sentences.append(f"{line}: nothing can be taken away; set another value (null, where it may be empty).")
                continue
            if len(choices) > 1 and not sweeps:
                sentences.append(
                    f"{line}: several values are a sweep, which needs -m; one value that holds a comma needs quotes: "
                    f"'{_key(line)}=\"{line.partition('=')[2]}\"'."
                )
            for choice in choices:
                try:
                    compose(name, [*accepted, choice], return_hydra_config=True)
                except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
                    sentences.append(_explain(choice, name, accepted, error))
                    break
            else:
                accepted.append(choices[0])
    return sentences


def _explain_unreadable(line: str) -> str:
    """Why an argument is not an override, and what to write instead."""
    plain = line.translate(HALF_WIDTH)
    if plain != line and parse_override(quote(plain)):
        return f"{line}: its signs are full-width, as in Chinese text; write {plain}."
    name, equals, value = line.partition("=")
    name = name.lstrip("+~")
    if not equals or not name:
        return f"{line or repr(line)} is not an override; write it as name=value, such as train.epochs=2."
    if not re.fullmatch(r"[A-Za-z_][\w./@:-]*", name, re.ASCII):
        return f"{line}: a name has only the letters a-z, digits, _, - and dots; only its value may have any others."
    if key := KEY_BEYOND_ASCII.search(value):
        return f"{line}: {key[1]} is a name, and a name has only the letters a-z, digits, _ and -."
    return (
        f"{line} cannot be read as an override; close every quote and bracket, and put quotes around a value that "
        "holds a comma or a bracket, inside those of the shell: 'name=\"a, b\"'."
    )


def _find_wrong_tricks(overrides: Sequence[str], sweeps: bool) -> Iterator[Sequence[str]]:
    """The overrides that choose tricks in another form than `+tricks=[a,b]`, each with all of its pieces."""
    for index, line in enumerate(overrides):
        if TRICKS.fullmatch(line):
            name, _, value = line.partition("=")
            is_list = value[:1] == "[" and value[-1:] == "]" and "null" not in re.findall(r"\w+", value)
            is_one = re.fullmatch(r"\w+", value) and value != "null"
            is_known_form = is_list or is_one or (sweeps and value)
            if name != "+tricks" or not is_known_form or FULL_WIDTH_COMMA.search(value):
                yield overrides[index : index + len_of_list(overrides[index:])]


def _add_config_folders(folders: Any, setting: str) -> Iterator[str]:
    """Let Hydra find configs in further folders; a sentence for each folder that has none."""
    if not isinstance(folders, list):
        yield f"{setting} must be a list of folders, got {folders}."
        return
    loader: Any = GlobalHydra.instance().config_loader()
    for folder in map(str, folders):
        if "://" not in folder and (problem := explain_unusable(folder, setting)):
            yield problem
            continue
        path = folder if "://" in folder else f"file://{Path(folder).resolve()}"
        # Under the name that Hydra gives it: `recipes.compose.trust` looks for it.
        provider = "command-line" if setting == CONFIG_DIR else setting
        loader.config_search_path.prepend(provider, path, SearchPathQuery(provider="schema"))
    loader.repository.initialize_sources(loader.config_search_path)


def _key(line: str) -> str:
    return line.partition("=")[0].lstrip("+~")


def _rank(line: str) -> int:
    """Config folders first, then groups, then values, so that a value finds the group that it belongs to."""
    return 0 if _key(line) == "hydra.searchpath" else 2 if "." in _key(line) else 1


def _values_of_sweep(override: Override) -> Iterator[str]:
    """The override itself, or one override for each value that it sweeps over."""
    if override.is_sweep_override():
        prefix = (override.input_line or "").partition("=")[0]
        yield from (f"{prefix}={value}" for value in override.sweep_string_iterator())
    else:
        yield override.input_line or ""


def _explain(line: str, config_name: str, accepted: Sequence[str], error: Exception) -> str:
    """Why one override cannot be composed, and what to write instead.

    Args:
        line: the override.
        config_name: of the primary config.
        accepted: the overrides before it, which can be composed.
        error: what Hydra or OmegaConf raised.
    """
    if plug_in := PLUG_IN.search(str(error)):
        return f"{line} needs a plug-in of Hydra: pip install 'trickbook[{plug_in[1]}]'."
    override = OverridesParser.create().parse_override(line)
    name, value = override.key_or_group, override.value()
    if options := GlobalHydra.instance().config_loader().get_group_options(name):
        return _explain_choice(line, name, value, options, error)
    composed = compose(config_name, list(accepted), return_hydra_config=True)
    return _explain_value(line, name, value, composed, error)


def _explain_choice(line: str, group: str, value: Any, options: Sequence[str], error: Exception) -> str:
    """Why one or several files of a config group cannot be chosen."""
    if group == "tricks" and not line.startswith("+"):
        return f"{line}: tricks are added to what is chosen so far; write +{line}."
    choices = ["null" if each is None else str(each) for each in (value if isinstance(value, list) else [value])]
    if unknown := [choice for choice in choices if choice not in options]:
        kind = "trick" if group == "tricks" else group
        return " ".join(f"{group}={each}: there is no such {kind}; {nearest(each, options)}" for each in unknown)
    if group != "tricks" and line.startswith("+"):
        return f"{line}: {group} is chosen, not added; write {line[1:]}."
    return f"{line}: {describe(error)}"


def _explain_value(line: str, name: str, value: Any, composed: DictConfig, error: Exception) -> str:
    """Why a setting cannot have a value, or cannot be found."""
    path = name.split(".")
    if path[0] == "tricks" and len(path) > 1 and path[1] not in composed.tricks:
        tricks = GlobalHydra.instance().config_loader().get_group_options("tricks")
        if path[1] not in tricks:
            return f"tricks.{path[1]}: there is no such trick; {nearest(path[1], tricks)}"
        return f"{line}: tricks.{path[1]} has values but is not selected; add '+tricks=[{path[1]}]'."
    node: Any = composed
    for depth, part in enumerate(path):
        if not isinstance(node, DictConfig) or part not in node:
            if depth == len(path) - 1 and (elsewhere := counterpart(part, line.partition("=")[2])):
                return f"{name} does not exist; write {elsewhere}."
            known = [key for key in map(str, node) if key != "hydra"] if isinstance(node, DictConfig) else []
            return f"{'.'.join(path[: depth + 1])} does not exist; {nearest(part, known)}"
        node = node[part]
    if item := field_at(path):
        return f"{name} must be {describe_field(item)}, got {'null' if value is None else value}."
    return f"{line}: {describe(error.__cause__ or error)}"
