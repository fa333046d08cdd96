"""Train on one small batch, to see whether and how a run learns it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from recipes.base import Base, evaluating
from recipes.data.batch import Batch
from recipes.doctor.subject import Subject
from recipes.loop import TrainingRun

MOST_UPDATES = 300
SECONDS = 60.0


@dataclass(frozen=True)
class Memorized:
    """How far a run got with one batch."""

    losses: Sequence[float]
    """The cross-entropy of each update before its step, with dropout on."""
    accuracy: float
    start: float
    """The cross-entropy before the first update, with dropout off."""
    loss: float
    """The same after the last update."""

    @property
    def curve(self) -> str:
        """Some of the losses, in the order of the updates."""
        return " ".join(f"{value:.2f}" for value in self.losses[:: max(1, len(self.losses) // 8)])


def small_batch(subject: Subject) -> Batch:
    """Collate up to 16 short rows, the same number of each label; up to 32 if there are more than 16 labels."""
    run = subject.run
    labels = run.train.labels
    classes = labels.argmax(1) if labels.ndim == 2 else labels
    by_length = np.argsort(run.train.lengths, kind="stable")
    by_length = by_length[classes[by_length] >= 0]
    rows_of_class = [by_length[classes[by_length] == number] for number in np.unique(classes[by_length])]
    most = max(1, 16 // max(1, len(rows_of_class)))
    # Not the very shortest: empty texts with different labels cannot be learned.
    return subject.batch(np.sort(np.concatenate([rows[len(rows) // 3 :][:most] for rows in rows_of_class])[:32]))


def memorize(
    run: TrainingRun, batch: Batch, most_loss: float, least_accuracy: float = 1.0, every: int = 5
) -> Memorized:
    """Train on a batch until its rows are right and their loss is low, or time is up.

    Args:
        run: trained in place, at its base rates, of at least 1e-4.
        batch: on the run's device.
        most_loss: as a fraction of the loss at the start.
        least_accuracy: of the rows.
        every: updates between two looks at the loss.
    """
    began, losses = time.perf_counter(), list[float]()
    for group in run.optimizer.param_groups:
        group["lr"] = max(group["lr"], 1e-4) if group["lr"] else 0.0
    accuracy, start = score(run, batch)
    loss = start
    while (
        len(losses) < MOST_UPDATES
        and time.perf_counter() - began < SECONDS
        and (accuracy < least_accuracy or loss > max(0.1, start * most_loss))
    ):
        # Another index draws another dropout mask: a single mask could be memorized together with the rows.
        losses.append(make_step(run, replace(batch, index=len(losses))))
        if len(losses) % every == 0:
            accuracy, loss = score(run, batch)
    return Memorized(losses, accuracy, start, loss)


def make_step(run: TrainingRun, batch: Batch) -> float:
    """Make a step at the optimizer's present learning rate, and return the loss before the step."""
    run.optimizer.zero_grad()
    loss = run.seams.gradient(batch)
    torch.nn.utils.clip_grad_norm_(run.parameters, 1.0)
    run.optimizer.optimizer.step()
    return float(loss.cross_entropy)


def score(run: TrainingRun, batch: Batch) -> tuple[float, float]:
    """The accuracy and the cross-entropy on a batch, with dropout off."""
    with evaluating(run.bare_model):
        logits = run.bare_model(**batch.inputs).logits.float()
    targets = batch.targets.to(logits)
    correct = (logits > 0) == (targets > 0.5) if run.multi_label else logits.argmax(1) == targets.argmax(1)
    return float(correct.float().mean()), float(Base(run).loss(logits, targets).mean())
