"""Fine-tune a text classifier: `python train.py +tricks=[mixup,amp,swa]`. Hydra composes `conf/`, recipes run it."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from recipes.cli import carry_past_hydra, exit_on_user_error
from recipes.compose.arguments import prepare_arguments
from recipes.compose.overrides import explained
from recipes.compose.reading import read
from recipes.runs.files import removed_if_empty

# A launcher carries this number to its workers, which end when this process does.
START = os.getpid()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def train(composed: DictConfig) -> float:
    """Run one config; returns the chosen validation metric, so that any sweeper can optimize it."""
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    sweeping = job.mode == RunMode.MULTIRUN
    if sweeping:
        from recipes.runtime.watchdog import end_with

        end_with(START)
    # Hydra makes the folder before it is known whether the run can start.
    with carry_past_hydra(job.overrides.task, sweeping), removed_if_empty(folder):
        config = read(composed)
        if sweeping:
            from recipes.runtime.workers import deal_gpu
            from recipes.trackers.identity import label_in_sweep

            label_in_sweep(config, Path(job.sweep.dir), job.overrides.task)
            deal_gpu(START, config.train.device)
        from recipes.api import finetune_config
        from recipes.reports.results import show_health

        run = finetune_config(config, folder)
        show_health(run)
        return float(run.metrics["validation"][config.evaluate.metric])


if __name__ == "__main__":
    with exit_on_user_error():
        sys.argv[1:] = prepare_arguments(sys.argv[1:])
        with explained(sys.argv[1:]):
            train()
