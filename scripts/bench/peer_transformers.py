"""The Trainer of transformers."""

import io
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainingArguments

from recipes.config import Train
from scripts.bench.peer_batches import Collate
from scripts.bench.tasks import Task


class Clock(TrainerCallback):
    """Seconds from the first update to the last."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self.start


def make_arguments(train: Train, updates: int, folder: Path, sampling: str, **options: Any) -> TrainingArguments:
    """Make the arguments of a Trainer that trains as a run does, and writes nothing.

    Args:
        train: the run's settings.
        updates: of the whole run.
        folder: that the Trainer may use.
        sampling: as `train_sampling_strategy` of the Trainer.
        **options: further arguments, such as the device.
    """
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=train.batch_size,
        train_sampling_strategy=sampling,
        max_steps=updates,
        optim="adamw_torch_fused",
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        max_grad_norm=train.clip_norm,
        lr_scheduler_type="linear",
        warmup_steps=train.warmup,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        **options,
    )


def train_with_transformers(task: Task, rows: Any, collate: Collate, sampling: str = "random") -> float:
    """Train on the rows.

    Args:
        task: model, settings and folder.
        rows: the training data set.
        collate: makes a batch of rows.
        sampling: as `train_sampling_strategy` of the Trainer.

    Returns:
        The seconds of all updates.
    """
    train, clock = task.config.train, Clock()
    folder, updates = task.folder / "trainer", task.untrained_run.total_updates
    arguments = make_arguments(train, updates, folder, sampling, use_cpu=True)
    peer = Trainer(task.copy_model(), arguments, data_collator=collate, train_dataset=rows, callbacks=[clock])
    with redirect_stdout(io.StringIO()):
        peer.train()
    return clock.seconds
