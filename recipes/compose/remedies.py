"""Remedies for a finding: those that the available tricks offer, and the values of the config files.

Trick classes are imported only when somebody asks, never at start-up. A third party's tricks are found in the same way.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from recipes.compose.trust import import_class
from recipes.config import CONF, Model, value_at
from recipes.errors import UserError
from recipes.findings import REMEDIED_ONCE
from recipes.ranges import as_yaml, make_settings
from recipes.seams import refusals
from recipes.trick import Trick

# What a file raises that is not the YAML file of a trick, or whose class cannot be imported or is not trusted.
UNUSABLE = (HydraException, OmegaConfBaseException, YAMLError, UserError, LookupError, TypeError, ValueError)


def available_tricks() -> Iterator[tuple[str, Mapping[str, Any], type[Trick]]]:
    """Yield the name, settings and class of every trick in the config folders of this command line."""
    for name, settings in _files_of("tricks"):
        try:
            trick_class = import_class(str(settings["_target_"]), f"tricks.{name}._target_")
        except UNUSABLE:
            # The folder may hold files that are not tricks, and packages may be missing. Selecting such a trick gives
            # the full error; a list of suggestions must not end a run.
            continue
        if issubclass(trick_class, Trick):
            yield name, settings, trick_class


def usual_learning_rate(model: Model) -> float:
    """The learning rate in the config file of a model; that of `model=hub` for a model without a file."""
    rates = {}
    for _, values in _files_of("model"):
        settings, train = values.get("model"), values.get("train")
        if isinstance(settings, dict) and isinstance(train, dict) and settings.get("source") == model.source:
            rate = train.get("learning_rate")
            if isinstance(rate, float):
                # `model=hub` names no model.
                rates[settings.get("name")] = rate
    return rates.get(model.name, rates[None])


def advised_learning_rates(model: Model) -> tuple[float, float]:
    """The lowest and the highest learning rate that suit fine-tuning of a model.

    A random model has nothing to lose, and takes high rates. Devlin et al. 2019 (arXiv 1810.04805) searched 2e-5 to
    5e-5 for BERT, Turc et al. 2019 (arXiv 1908.08962) 3e-5 to 3e-4 for small encoders. At 1e-3, the default of most
    optimizers, both stall.
    """
    usual = usual_learning_rate(model)
    highest = 0.1 if model.source == "tiny" else max(1e-4, min(3 * usual, 5e-4))
    return round(usual / 10, 9), highest


def default_setting(path: str, target: str | None = None) -> str | None:
    """The value of a setting in the YAML files, as it is written there; None where no file has it.

    Args:
        path: dotted path of a setting, such as `train.warmup`; of a trick's setting, its name alone.
        target: the `_target_` of the trick.
    """
    if target is None:
        files = [OmegaConf.to_container(cast(DictConfig, OmegaConf.load(CONF / "train.yaml")))]
    else:
        files = [values for _, values in _files_of("tricks") if values.get("_target_") == target and path in values]
    return as_yaml(value_at(files[0], path)) if files else None


def _files_of(group: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """List the name and the values of every readable config file of a group."""
    search_path = _search_path()
    folders = [Path(path.removeprefix("file://")) / group for _, path in search_path]
    files = sorted(file for folder in folders for file in folder.glob("*.yaml"))
    return _read_files(group, search_path, tuple((file, file.stat().st_mtime_ns) for file in files))


@cache
def _read_files(
    group: str, search_path: tuple[tuple[str, str], ...], changes: tuple[tuple[Path, int], ...]
) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """Read the config files of a group, again only after `changes`: an evaluation asks for them several times."""
    Plugins.instance()  # registers the readers of config folders
    folders = ConfigSearchPathImpl()
    for provider, path in search_path:
        folders.append(provider, path)
    repository = ConfigRepository(folders)
    files = []
    for name in repository.get_group_options(group):
        try:
            loaded = repository.load_config(f"{group}/{name}")
        except UNUSABLE:
            continue
        values = OmegaConf.to_container(loaded.config) if loaded else None
        if isinstance(values, dict):
            files.append((name, {str(key): value for key, value in values.items()}))
    return files


def _search_path() -> tuple[tuple[str, str], ...]:
    """The search path of the config that was composed last, followed by `conf/`: each provider and its folder."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    composed = [
        (source.provider, f"{source.schema}://{source.path}") for source in sources if source.schema in ("file", "pkg")
    ]
    return (*composed, ("main", f"file://{CONF}"))


def remedies_for(finding: str, selected: Mapping[str, Mapping[str, Any]], **values: object) -> list[str]:
    """List the remedies for a finding that tricks offer which are not selected yet.

    Args:
        finding: one of `recipes.findings.FINDINGS`.
        selected: the config's `tricks`. A trick that is on is not suggested, not even under a second name. Neither is
            one that a selected trick excludes.
        **values: the values in braces in the finding's meaning.

    Returns:
        One remedy per trick, such as `+tricks=[deduplicate]`, in the order of the tricks' names.
    """
    targets = {settings.get("_target_") for settings in selected.values()}
    instances = dict(_make_tricks(selected))
    remedies = []
    for name, settings, trick_class in available_tricks():
        if finding not in trick_class.remedies:
            continue
        if name in selected or settings["_target_"] in targets:
            if finding in REMEDIED_ONCE:
                return []
        elif not refusals({**instances, **dict(_make_tricks({name: settings}))}):
            remedies.append(trick_class.remedies[finding].format(name=name, **values))
    return remedies


def _make_tricks(selected: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Trick]]:
    """Make those tricks whose classes and values are usable; setting up a run explains the others."""
    for name, settings in selected.items():
        values = dict(settings)
        try:
            trick_class = import_class(str(values.pop("_target_", "")), f"tricks.{name}._target_")
            trick, _ = make_settings(trick_class, values, f"tricks.{name}", {"name": name})
        except UNUSABLE:
            continue
        if isinstance(trick, Trick):
            yield name, trick
