"""The configs of a study's runs, composed as its launcher will."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from recipes.ablation.design import Arm
from recipes.ablation.factors import Space
from recipes.ablation.runs import Run


class Composer:
    """Composes the configs of a sweep's runs, as its launcher will.

    Args:
        master: the sweep's own config.
        loader: that of the sweep, which knows its further config folders.
    """

    def __init__(self, master: DictConfig, loader: ConfigLoader) -> None:
        """Nothing is composed yet."""
        self.master, self.loader = master, loader
        self.sweep = Path(master.hydra.sweep.dir)

    def whole(self, overrides: Sequence[str]) -> DictConfig:
        """With what Hydra has to say of it."""
        return self.loader.load_sweep_config(self.master, list(overrides))

    @property
    def searched(self) -> list[str]:
        """The folders that `--config-dir` and `hydra.searchpath` of the command name."""
        sources = [each for each in self.master.hydra.runtime.config_sources if "command-line" in each.provider]
        return [
            f"file://{Path(each.path).resolve()}" if each.schema == "file" else f"{each.schema}://{each.path}"
            for each in sources
        ]

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """The run's own config."""
        composed = self.whole(overrides)
        OmegaConf.set_struct(composed, False)
        del composed["hydra"]
        return composed

    def runs(self, space: Space, arms: Sequence[Arm], seeds: Sequence[int]) -> Iterator[Run]:
        """The runs of some arms: seed by seed, so that what is there early on can be compared."""
        composed = {(data, arm): self.whole(space.overrides_of(arm, 0, data)) for data in space.data for arm in arms}
        for seed in seeds:
            for (data, arm), config in composed.items():
                config.seed = seed
                yield Run(space, data, arm, seed, self.sweep / str(config.hydra.sweep.subdir))
