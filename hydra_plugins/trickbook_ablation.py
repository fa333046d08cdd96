"""The ablation sweeper, `hydra/sweeper=ablation`. Every Hydra program imports this file, so it imports little."""

from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class AblationSweeper(Sweeper):
    """Runs a study; see `recipes/ablation/study.py`.

    Args:
        settings: those of `conf/hydra/sweeper/ablation.yaml`; `run_study` checks them.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Create the launcher that the user has chosen."""
        from recipes.ablation.study import run_study
        from recipes.ablation.worker import Job
        from recipes.compose.metrics import scoring_by
        from recipes.compose.trust import trusting

        # This process composes configs and makes tricks too, but Hydra sets this only for each run.
        HydraConfig.instance().set_config(config)
        self.trusting = trusting(config.trusted)
        self.scoring = partial(scoring_by, OmegaConf.to_container(config.evaluate, resolve=True))

        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=Job(task_function), config=config
        )
        self.run = partial(
            run_study, values=self.settings, master=config, loader=hydra_context.config_loader, launch=launcher.launch
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study that the overrides describe, and return its findings."""
        with self.trusting, self.scoring():
            return self.run(arguments)
