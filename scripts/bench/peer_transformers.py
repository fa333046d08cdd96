"""The Trainer of transformers."""

import io
import time
from contextlib import redirect_stdout
from typing import Any

from transformers import Trainer, TrainerCallback, TrainingArguments

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
    arguments = TrainingArguments(
        output_dir=str(task.folder / "trainer"),
        use_cpu=True,
        per_device_train_batch_size=train.batch_size,
        train_sampling_strategy=sampling,
        max_steps=task.untrained_run.total_updates,
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
    )
    peer = Trainer(task.copy_model(), arguments, data_collator=collate, train_dataset=rows, callbacks=[clock])
    with redirect_stdout(io.StringIO()):
        peer.train()
    return clock.seconds
