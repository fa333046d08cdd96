"""Remedies that the available tricks offer for a finding.

Trick classes are imported only when somebody asks, never at start-up. A third party's tricks are found in the same way.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from recipes.compose.trust import import_class
from recipes.config import CONF
from recipes.errors import UserError
from recipes.trick import Trick

# What a file raises that is not the YAML file of a trick, or whose class cannot be imported or is not trusted.
UNUSABLE = (HydraException, OmegaConfBaseException, YAMLError, UserError, LookupError, TypeError, ValueError)


def available_tricks() -> Iterator[tuple[str, str, type[Trick]]]:
    """Yield the name, `_target_` and class of every trick in the config folders of this command line."""
    Plugins.instance()  # registers the readers of config folders
    repository = ConfigRepository(_search_path())
    for name in repository.get_group_options("tricks"):
        try:
            loaded = repository.load_config(f"tricks/{name}")
            target = str(loaded.config["_target_"]) if loaded else ""
            trick_class = import_class(target, f"tricks.{name}._target_")
        except UNUSABLE:
            # The folder may hold files that are not tricks, and packages may be missing. Selecting such a trick gives
            # the full error; a list of suggestions must not end a run.
            continue
        if issubclass(trick_class, Trick):
            yield name, target, trick_class


def _search_path() -> ConfigSearchPathImpl:
    """The search path of the config that was composed last, followed by `conf/`."""
    path = ConfigSearchPathImpl()
    if HydraConfig.initialized():
        for source in HydraConfig.get().runtime.config_sources:
            if source.schema in ("file", "pkg"):
                path.append(source.provider, f"{source.schema}://{source.path}")
    path.append("main", f"file://{CONF}")
    return path


def remedies_for(finding: str, selected: Mapping[str, Mapping[str, Any]], **values: object) -> list[str]:
    """List the remedies for a finding that tricks offer which are not selected yet.

    Args:
        finding: one of `recipes.findings.FINDINGS`.
        selected: the config's `tricks`. A trick that is on is not suggested, not even under a second name.
        **values: the values in braces in the finding's meaning.

    Returns:
        One remedy per trick, such as `+tricks=[deduplicate]`, in the order of the tricks' names.
    """
    targets = {settings.get("_target_") for settings in selected.values()}
    return [
        trick_class.remedies[finding].format(name=name, **values)
        for name, target, trick_class in available_tricks()
        if finding in trick_class.remedies and name not in selected and target not in targets
    ]
