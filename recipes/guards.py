"""What ends a run early: updates without a finite gradient, and memory that runs out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from recipes.compose.remedies import remedies_for
from recipes.data.batch import Batch
from recipes.errors import DIVERGED, UserError
from recipes.runs.history import History
from recipes.state import LiveRun

MAX_SKIPPED_IN_A_ROW = 3
SKIPPED = "skipped.jsonl"


class Diverged(UserError):
    """Training diverged: gradients or predictions are not finite.

    Args:
        run: the run.
        observation: what shows it, as part of a sentence.
        ids: the rows of the last skipped update, for a diagnosis; none where no update was skipped.
        diagnosis: what is wrong with these rows, in full sentences.
    """

    def __init__(self, run: LiveRun, observation: str, ids: Sequence[str] = (), diagnosis: str = "") -> None:
        self.run, self.observation, self.ids = run, observation, ids
        super().__init__(
            f"{DIVERGED}: {observation}. {diagnosis}Lower train.learning_rate (now "
            f"{run.config.train.learning_rate:g}) or set train.clip_norm; after that look at the data. The last "
            "checkpoint is kept."
        )

    def with_diagnosis(self, diagnosis: str) -> "Diverged":
        """The same error, which also says what is wrong with the rows."""
        return Diverged(self.run, self.observation, self.ids, diagnosis)


@dataclass(frozen=True)
class Update:
    """An update that was just made or skipped."""

    number: int
    """From 1."""
    ids: Sequence[str]
    """Its rows."""
    grad_norm: Tensor


def check_update(run: LiveRun, update: Update, succeeded: bool) -> None:
    """Record an update that was skipped in `skipped.jsonl`, and end the run after several in a row.

    Args:
        run: the run; its loss scale, if it has one, is the one after the update.
        update: the update.
        succeeded: whether its step was made.

    Raises:
        Diverged: too many in a row were skipped.
    """
    # Under fp16 the scaler skips steps to find its scale, which is normal as long as the scale stays above 1.
    scaler = run.accelerator.scaler
    if succeeded or (scaler is not None and scaler.get_scale() >= 1):
        run.skipped = 0
        return
    run.skipped += 1
    ids = sorted(set(update.ids))
    if run.accelerator.is_main_process:
        History(run.folder / SKIPPED).append([{"update": update.number, "ids": ids}])
    run.say(f"update {update.number} is skipped: its gradient is {float(update.grad_norm)} ({SKIPPED})")
    if run.skipped == MAX_SKIPPED_IN_A_ROW:
        observation = f"{run.skipped} updates in a row had no finite gradient and were skipped"
        raise Diverged(run, observation, ids)


def forget_later_skips(run: LiveRun) -> None:
    """Drop the skipped updates after the run's position: they will be made again."""
    skipped = History(run.folder / SKIPPED)
    if skipped.path.exists():
        skipped.cut(run.batches_done)


@contextmanager
def explain_out_of_memory(run: LiveRun, batch: Batch) -> Iterator[None]:
    """Inside this context an update that does not fit in memory ends with what to do about it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        smaller = ["set model.gradient_checkpointing=true, or a smaller data.max_length"]
        advice = "; or ".join(remedies_for("update_out_of_memory", run.config.tricks) + smaller)
        raise UserError(
            f"memory does not hold an update of {len(batch)} rows of up to {int(batch.lengths.max())} tokens; "
            f"{advice}. The last checkpoint is kept."
        ) from error
