"""Updates whose gradient is no number: skipped, told with their rows, and the end of the run when they do not stop."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from recipes.compose.remedies import remedies_for
from recipes.data.batch import Batch
from recipes.errors import UserError
from recipes.runs.history import History
from recipes.state import LiveRun

MOST_IN_A_ROW = 3
SKIPPED = "skipped.jsonl"


class Diverged(UserError):
    """There is nothing left to train.

    Args:
        run: as it stands.
        what: what was seen.
        ids: the rows of the last update that was skipped, for a diagnosis; none where the update was made.
        diagnosis: what is wrong with these rows, in whole sentences.
    """

    def __init__(self, run: LiveRun, what: str, ids: Sequence[str] = (), diagnosis: str = "") -> None:
        self.run, self.what, self.ids = run, what, ids
        super().__init__(
            f"training diverged: {what}. {diagnosis}Lower train.learning_rate (now "
            f"{run.config.train.learning_rate:g}) or set train.clip_norm; after that look at the data. The last "
            "checkpoint is kept."
        )

    def with_diagnosis(self, diagnosis: str) -> "Diverged":
        """The same error, which also says what is wrong with the rows."""
        return Diverged(self.run, self.what, self.ids, diagnosis)


def see(run: LiveRun, batch: Batch, updates: int) -> None:
    """Keep the rows of an update that was not made, in `skipped.jsonl`, and end the run after several in a row.

    Args:
        run: after the update.
        batch: the update's.
        updates: as many as there were before it.

    Raises:
        Diverged: too many in a row were skipped.
    """
    scaler = run.accelerator.scaler
    if run.updates > updates or (scaler is not None and scaler.get_scale() >= 1):
        run.skipped = 0
        return
    run.skipped += 1
    if run.accelerator.is_main_process:
        History(run.folder / SKIPPED).append([{"update": run.batches_done + 1, "ids": sorted(set(batch.ids))}])
    run.say(f"update {run.batches_done + 1} is skipped: its gradient is {float(run.grad_norm)} ({SKIPPED})")
    if run.skipped == MOST_IN_A_ROW:
        what = f"{run.skipped} updates in a row had no finite gradient and were skipped"
        raise Diverged(run, what, sorted(set(batch.ids)))


def go_back(run: LiveRun) -> None:
    """Forget what was skipped after the update where the run stands: it will be made again."""
    skipped = History(run.folder / SKIPPED)
    if skipped.path.exists():
        skipped.cut(run.batches_done)


@contextmanager
def told_of_memory(run: LiveRun, batch: Batch) -> Iterator[None]:
    """Inside this context an update that memory does not hold is told with what to do about it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        smaller = ["set model.gradient_checkpointing=true, or a smaller data.max_length"]
        advice = "; or ".join(remedies_for("update_out_of_memory", run.config.tricks) + smaller)
        raise UserError(
            f"memory does not hold an update of {len(batch)} rows of up to {int(batch.lengths.max())} tokens; "
            f"{advice}. The last checkpoint is kept."
        ) from error
