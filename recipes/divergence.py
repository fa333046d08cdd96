"""Updates whose gradient is no number: skipped, told with their rows, and the end of the run when they do not stop."""

from typing import TYPE_CHECKING

from recipes.batch import Batch
from recipes.errors import UserError
from recipes.folder import History

if TYPE_CHECKING:
    from recipes.loop import Run

MOST_IN_A_ROW = 3
SKIPPED = "skipped.jsonl"


def see(run: "Run", batch: Batch, updates: int) -> None:
    """Keep the rows of an update that was not made, in `skipped.jsonl`, and end the run after several in a row.

    Args:
        run: after the update.
        batch: the update's.
        updates: as many as there were before it.

    Raises:
        UserError: too many in a row were skipped; with what a look at the last one's rows says.
    """
    scaler = run.accelerator.scaler
    if run.updates > updates or (scaler is not None and scaler.get_scale() >= 1):
        run.skipped = 0
        return
    run.skipped += 1
    if run.accelerator.is_main_process:
        History(run.folder / SKIPPED).append([{"update": run.batches_done + 1, "ids": sorted(set(batch.ids))}])
    run.report.say(f"update {run.batches_done + 1} is skipped: its gradient is {float(run.grad_norm)} ({SKIPPED})")
    if run.skipped == MOST_IN_A_ROW:
        raise diverged(
            run, f"{run.skipped} updates in a row had no finite gradient and were skipped", diagnosis(run, batch)
        )


def go_back(run: "Run") -> None:
    """Forget what was skipped after the update where the run stands: it will be made again."""
    skipped = History(run.folder / SKIPPED)
    if skipped.path.exists():
        skipped.cut(run.batches_done)


def diagnosis(run: "Run", batch: Batch) -> str:
    """What the doctor says of these rows."""
    from recipes.doctor.examination import of_rows

    return of_rows(run, sorted(set(batch.ids)))


def diverged(run: "Run", what: str, why: str = "") -> UserError:
    """That there is nothing left to train, and what to do."""
    return UserError(
        f"training diverged: {what}. {why}Lower train.learning_rate (now {run.config.train.learning_rate:g}) or set "
        "train.clip_norm; after that look at the data. The last checkpoint is kept."
    )
