"""The configs of a study's runs, composed exactly as the launcher composes them."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from recipes.ablation.design import Arm
from recipes.ablation.factors import Space
from recipes.ablation.runs import Run
from recipes.compose.reading import read
from recipes.compose.trust import name_configured
from recipes.config import Train


class Composer:
    """Composes the configs of a sweep's runs as its launcher does.

    Args:
        master: the config of the sweep itself.
        loader: the sweep's config loader, which knows the user's config folders.
        rotate: whether seed s is validated on fold s mod K of the training rows.
    """

    def __init__(self, master: DictConfig, loader: ConfigLoader, rotate: bool) -> None:
        self.master, self.loader, self.rotate = master, loader, rotate
        self.sweep = Path(master.hydra.sweep.dir)

    def compose_full(self, overrides: Sequence[str]) -> DictConfig:
        """Compose a run's config, including the `hydra` section."""
        return self.loader.load_sweep_config(self.master, list(overrides))

    @property
    def search_path(self) -> list[str]:
        """The config folders that the command names with `--config-dir` and `hydra.searchpath`."""
        sources = [each for each in self.master.hydra.runtime.config_sources if "command-line" in each.provider]
        return [
            f"file://{Path(each.path).resolve()}" if each.schema == "file" else f"{each.schema}://{each.path}"
            for each in sources
        ]

    @property
    def trusted(self) -> list[str]:
        """The further classes that the command trusts, also by its `--config-dir`."""
        return sorted({*self.master.trusted, *name_configured(self.master.hydra.runtime.config_sources)})

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """Compose a run's config without the `hydra` section."""
        composed = self.compose_full(overrides)
        OmegaConf.set_struct(composed, False)
        del composed["hydra"]
        return composed

    def list_runs(
        self, space: Space, arms: Sequence[Arm], seeds: Sequence[int], with_model: Collection[Arm] = ()
    ) -> Iterator[Run]:
        """List the runs of some arms, seed by seed, so that a study can be compared while it is still running.

        Args:
            space: what varies.
            arms: the arms.
            seeds: the seeds of each arm.
            with_model: the arms whose runs must have a model.
        """
        composed = {(data, arm): self._compose_with_length(space, arm, data) for data in space.data for arm in arms}
        fold_counts = self.count_folds(space) if self.rotate else {}
        for seed in seeds:
            for (data, arm), (config, length) in composed.items():
                # The folder's name depends on the seed and the fold.
                config.seed = seed
                fold = None
                if self.rotate:
                    config.data.fold = fold = seed % fold_counts[data]
                folder = self.sweep / str(config.hydra.sweep.subdir)
                yield Run(space, data, arm, seed, folder, length, fold, arm in with_model)

    def count_folds(self, space: Space) -> dict[str, int]:
        """Count the folds of each data set, K; the settings decide it, so it is known before any run."""
        return {data: read(self(space.overrides_of(space.base, 0, data))).data.fold_count for data in space.data}

    def find_length(self, space: Space, arm: Arm) -> tuple[str, ...]:
        """Find the override of an arm's length; none if the study leaves the length as the config sets it."""
        return self._compose_with_length(space, arm, next(iter(space.data)))[1]

    def _compose_with_length(self, space: Space, arm: Arm, data: str) -> tuple[DictConfig, tuple[str, ...]]:
        """Compose an arm's config, and find the override that multiplies the length which that config sets."""
        overrides = space.overrides_of(arm, 0, data)
        config = self.compose_full(overrides)
        if space.length == 1:
            return config, ()
        length = multiply_length(config.train, space.length)
        return self.compose_full([*overrides, length]), (length,)


def multiply_length(train: DictConfig | Train, multiple: float) -> str:
    """Write the override that multiplies the updates of a run, or its epochs if they set its length."""
    if train.max_updates is None:
        return f"train.epochs={train.epochs * multiple:.10g}"
    return f"train.max_updates={max(1, round(train.max_updates * multiple))}"
