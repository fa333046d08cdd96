"""The Trainer of PyTorch Lightning, which is imported late because it may not be installed."""

import logging
import time
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from scripts.bench.peer_batches import Collate
from scripts.bench.tasks import Task


def train_with_lightning(task: Task, rows: Any, collate: Collate) -> float:
    """Train on the rows.

    Returns:
        The seconds of all updates.
    """
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.copy_model()

        def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
            return self.model(**batch).loss

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer, schedule = task.make_optimizer(self.model)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

        def on_train_start(self) -> None:
            self.start = time.perf_counter()

        def on_train_end(self) -> None:
            self.seconds = time.perf_counter() - self.start

    module = Module()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # It advises more workers, which would only take cores from the training.
        warnings.simplefilter("ignore")
        peer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=task.untrained_run.total_updates,
            gradient_clip_val=task.config.train.clip_norm,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=task.folder,
        )
        peer.fit(module, DataLoader(rows, task.config.train.batch_size, shuffle=True, collate_fn=collate))
    return module.seconds
