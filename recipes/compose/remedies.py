"""What the tricks that could be selected offer: remedies for a finding, and controls for an ablation.

Their classes are imported when somebody asks, never at start-up. A third party's trick is found like any other.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.utils import _locate
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins

from recipes.config import CONF
from recipes.trick import Trick


def available_tricks() -> Iterator[tuple[str, str, type[Trick]]]:
    """The name, `_target_` and class of every trick in the config folders of this command line."""
    Plugins.instance()  # registers the readers of config folders
    repository = ConfigRepository(_search_path())
    for name in repository.get_group_options("tricks"):
        try:
            found = repository.load_config(f"tricks/{name}")
            target = str(found.config["_target_"]) if found else ""
            kind = _locate(target)
        except Exception:
            # A folder may hold files of others, and packages may be missing. Selecting one of these explains it; who
            # only asks for advice must not end for it.
            continue
        if isinstance(kind, type) and issubclass(kind, Trick):
            yield name, target, kind


def _search_path() -> ConfigSearchPathImpl:
    """Where the config that was composed last was looked for, and `conf/`."""
    found = ConfigSearchPathImpl()
    if HydraConfig.initialized():
        for source in HydraConfig.get().runtime.config_sources:
            if source.schema in ("file", "pkg"):
                found.append(source.provider, f"{source.schema}://{source.path}")
    found.append("main", f"file://{CONF}")
    return found


def remedies_for(finding: str, selected: Mapping[str, Mapping[str, Any]], **values: object) -> list[str]:
    """What the tricks that are not selected do about a finding, by their names.

    Args:
        finding: one of `recipes.findings.FINDINGS`.
        selected: the config's `tricks`. A trick that is on is not advised, under no other name either.
        **values: those that the finding's meaning names.
    """
    targets = {settings.get("_target_") for settings in selected.values()}
    return [
        kind.remedies[finding].format(name=name, **values)
        for name, target, kind in available_tricks()
        if finding in kind.remedies and name not in selected and target not in targets
    ]
