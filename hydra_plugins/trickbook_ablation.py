"""The ablation sweeper's entry: `hydra/sweeper=ablation`. Every Hydra program imports this, so it imports little."""

from functools import partial
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class AblationSweeper(Sweeper):
    """Runs a study; see `recipes/ablation/study.py`.

    Args:
        settings: those of `conf/hydra/sweeper/ablation.yaml`.
    """

    def __init__(self, **settings: Any) -> None:
        """Keep the settings; they are checked with all else."""
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher that the user has chosen."""
        from recipes.ablation.study import study
        from recipes.ablation.worker import Job

        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=Job(task_function), config=config
        )
        self.study = partial(
            study, values=self.settings, master=config, loader=hydra_context.config_loader, launch=launcher.launch
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the study that the overrides ask for."""
        self.study(arguments)
