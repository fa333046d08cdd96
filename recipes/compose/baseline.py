"""Before a sweep or a search: is there a finished run of the same data and model without tricks to compare with?

Hydra calls `MissingBaseline` when a sweep starts, whichever sweeper makes it (`hydra.callbacks` in `conf/train.yaml`).
It informs and never blocks.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.config import label_setting
from recipes.errors import UserError
from recipes.runtime.program import name_command

ABLATION = "AblationSweeper"
"""A study has runs of its own base."""
# Choices that can bring tricks, and the seed: any will do.
NOT_PLAIN = ("tricks", "recipe", "search", "seed", "evaluate.test")


class MissingBaseline(Callback):
    """Says first that a sweep has no finished plain run to compare with, and offers the command that makes it."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Print a paragraph for each data set without a plain run."""
        if str(config.hydra.sweeper.get("_target_")).endswith(ABLATION):
            return
        for paragraph in describe_missing_baselines(config, GlobalHydra.instance().config_loader()):
            print(paragraph, flush=True)


def describe_missing_baselines(master: DictConfig, loader: ConfigLoader) -> Iterator[str]:
    """Describe each data set of a sweep that has no finished plain run.

    Args:
        master: the sweep's own config.
        loader: composes the configs of its runs.
    """
    for overrides in _list_plain_overrides(list(master.hydra.overrides.task), loader):
        try:
            composed = loader.load_sweep_config(master, overrides)
            folder = Path(composed.hydra.run.dir)
            values: Any = OmegaConf.to_container(composed, resolve=True)
        except (HydraException, OmegaConfBaseException):
            # The sweep itself refuses a wrong command, with its reason.
            return
        values["data"]["label"] = label_setting(values["data"]["label"])
        if not _has_plain_run(folder.parent, values):
            command = f"{name_command('train')} {shlex.join([*_list_config_folders(master), *overrides])}"
            yield (
                f"No baseline yet: {folder.parent} has no finished run of this data and model without tricks, so "
                f"nothing shows what the sweep gains. To make it first: {command}"
            )


def _list_plain_overrides(task: Sequence[str], loader: ConfigLoader) -> Iterator[list[str]]:
    """List the overrides of a plain run for each data set; of a swept model the first is taken."""
    common: list[str] = []
    by_setting: list[list[str]] = []
    for override in OverridesParser.create(loader).parse_overrides(list(task)):
        key = override.key_or_group
        if key.startswith(("tricks.", "seeds.", "hydra.")) or key in NOT_PLAIN:
            continue
        if not override.is_sweep_override():
            common.append(override.input_line or "")
        elif key == "data" or key.startswith("data."):
            by_setting.append(_list_values(override))
        elif key == "model" or key.startswith("model."):
            common += _list_values(override)[:1]
    for choice in product(*by_setting):
        yield [*choice, *common]


def _list_values(override: Override) -> list[str]:
    if not override.is_discrete_sweep():
        return []
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _list_config_folders(master: DictConfig) -> Iterator[str]:
    """List the options that add the user's config folders."""
    for source in master.hydra.runtime.config_sources:
        if source.provider == "command-line":
            yield from ("--config-dir", source.path)
        elif "command-line" in source.provider:
            yield f"hydra.searchpath=[{source.schema}://{source.path}]"


def _has_plain_run(runs: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a folder of runs, or of sweeps, holds a finished run of this data and model without tricks."""
    from recipes.runs.folder import is_finished, read_config

    for path in sorted((*runs.glob("*/config.yaml"), *runs.glob("*/*/config.yaml"))):
        try:
            # Most runs have tricks; this is quicker than reading all of them as YAML.
            if "tricks: {}" not in path.read_text(encoding="utf-8") or not is_finished(path.parent):
                continue
            values = read_config(path.parent) or {}
        except (UserError, OSError, UnicodeDecodeError):
            continue
        if not values.get("tricks") and all(values.get(name) == wanted[name] for name in ("data", "model")):
            return True
    return False
