"""Fine-tune: `trickbook train '+tricks=[mixup,amp,swa]'`. Hydra composes `conf/`, and the pipeline runs it."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from recipes.ablation.ranking import SweepLog, ranked_at_end
from recipes.cli import carry_past_hydra
from recipes.compose.arguments import prepare_arguments
from recipes.compose.baseline import ABLATION
from recipes.compose.completion import complete
from recipes.compose.overrides import explained
from recipes.compose.reading import read
from recipes.config import CONF
from recipes.runs.files import removed_if_empty


class Training:
    """The function that Hydra calls for each config. A launcher pickles it for its workers."""

    def __init__(self, log: SweepLog | None = None) -> None:
        self.log = log
        # Workers end when this process does.
        self.start = os.getpid()

    def __call__(self, composed: DictConfig) -> float:
        """Run one config; returns the chosen validation metric, so that any sweeper can optimize it."""
        job = HydraConfig.get()
        folder = Path(job.runtime.output_dir)
        sweeping = job.mode == RunMode.MULTIRUN
        if sweeping:
            from recipes.runtime.watchdog import end_with

            end_with(self.start)
        # Hydra makes the folder before it is known whether the run can start.
        logged = self._logged(job, folder, composed)
        with carry_past_hydra(job.overrides.task, sweeping), removed_if_empty(folder), logged:
            config = read(composed)
            if sweeping:
                from recipes.runtime.workers import deal_gpu
                from recipes.trackers.identity import label_in_sweep

                label_in_sweep(config, Path(job.sweep.dir), job.overrides.task)
                deal_gpu(self.start, config.train.device)
            from recipes.api import finetune_config
            from recipes.reports.results import show_health

            run = finetune_config(config, folder)
            show_health(run)
            # A function of the user's own may fail to score; no sweeper takes NaN for the best.
            return float(run.metrics["validation"].get(config.evaluate.metric, math.nan))

    @contextmanager
    def _logged(self, job: HydraConf, folder: Path, composed: DictConfig) -> Iterator[None]:
        """At the end of this context the run is in the log of its sweep; a study has a report of its own."""
        try:
            yield
        finally:
            if self.log and job.mode == RunMode.MULTIRUN and not str(job.sweeper["_target_"]).endswith(ABLATION):
                # One that is no list is refused with the rest of the config.
                trusted = list(composed.trusted) if OmegaConf.is_list(composed.trusted) else []
                self.log.add(folder, list(job.overrides.task), trusted)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line as Hydra does, and run what it describes."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if (words := complete(arguments)) is not None:
        print(" ".join(words))
        return
    # Hydra reads the arguments of the process.
    sys.argv[1:] = prepare_arguments(arguments)
    with explained(sys.argv[1:]), ranked_at_end() as log:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(Training(log))()
