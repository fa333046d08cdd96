"""The runs of a study: read from disk which are finished, and launch all that are not."""

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recipes.ablation.design import Arm
from recipes.ablation.factors import Space
from recipes.ablation.worker import FAILURE, OUTPUT
from recipes.compose.arguments import in_quotes
from recipes.errors import DIVERGED, UserError
from recipes.metrics import has_collapsed
from recipes.runs.files import atomic_write
from recipes.runs.folder import RunFolder, is_finished

FINISHED, FAILED, MISSING = "finished", "failed", "missing"
Launch = Callable[[Sequence[Sequence[str]], int], Any]


@dataclass(frozen=True)
class Run:
    """A run that a study needs."""

    space: Space
    data: str
    arm: Arm
    seed: int
    folder: Path
    length: tuple[str, ...] = ()
    """The override of its length, if the study changes that."""
    fold: int | None = None
    """The fold that it is validated on, if folds rotate."""
    needs_model: bool = False
    """Whether the study will predict with it."""

    @property
    def overrides(self) -> list[str]:
        """The overrides that `train.py` gets; a run has a model only if the study or the user needs it."""
        of_fold = [] if self.fold is None else [f"data.fold={self.fold}"]
        overrides = [*self.space.overrides_of(self.arm, self.seed, self.data), *self.length, *of_fold]
        if self.needs_model:
            return [*self._labels(), *overrides, "checkpoint.save_model=true"]
        return ["checkpoint.save_model=false", *self._labels(), *overrides]

    def _labels(self) -> list[str]:
        """The overrides by which trackers show it; what the user sets himself comes later, and counts."""
        space = self.space
        name = [self.data] if len(space.data) > 1 else []
        name += [space.name_arm(self.arm), *self.length, f"s{self.seed}"]
        levels = zip(space.factors, space.levels_of(self.arm), strict=True)
        tags = [in_quotes(f"{factor.name}={level.name}") for factor, level in levels]
        return [f"tracker.name={in_quotes(' '.join(name))}", f"tracker.tags=[{','.join(tags)}]"]

    @property
    def is_finished(self) -> bool:
        """Whether it has all that the study needs of it."""
        return is_finished(self.folder) and (not self.needs_model or RunFolder(self.folder).has_model)

    @property
    def has_begun(self) -> bool:
        """Whether a worker has started it since it was last launched."""
        return (self.folder / OUTPUT).exists()

    @property
    def has_ended(self) -> bool:
        """Whether it has a result or a reason for its failure."""
        return self.is_finished or (self.folder / FAILURE).exists()


@dataclass(frozen=True)
class Row:
    """The result of a run."""

    data: str
    arm: Arm
    seed: int
    folder: Path
    status: str
    """`finished`, `failed` or `missing`."""
    reason: str | None = None
    """Why it failed."""
    score: float | None = None
    """`evaluate.metric` on validation."""
    seconds: float | None = None
    passes: float | None = None
    """Forward and backward passes per update."""
    memory: float | None = None
    """Peak memory, in MB."""
    memory_of: str | None = None
    """`run`, or `process` if the peak is that of all runs of one process."""
    fold: int | None = None
    """The fold that it is validated on, if folds rotate."""
    graphs: bool | str | None = None
    """Whether its passes were replayed as CUDA graphs: true, false or `partial`; None: unknown, and taken as false."""
    collapsed: bool | None = None
    """Whether it answers one class for nearly every validation row; None if it has no predictions."""

    @property
    def is_broken(self) -> bool | None:
        """Whether it collapsed or diverged; None if neither is known, since it is missing or failed otherwise."""
        has_diverged = self.status == FAILED and (self.reason or "").startswith(DIVERGED)
        return True if has_diverged else self.collapsed


def read_row(run: Run, metric: str) -> Row:
    """Read a run's result from disk."""
    row = Row(run.data, run.arm, run.seed, run.folder, MISSING, fold=run.fold)
    if is_finished(run.folder):
        folder = RunFolder(run.folder)
        metrics = folder.metrics
        cost = metrics["cost"]
        return replace(
            row,
            status=FINISHED,
            score=metrics["validation"].get(metric),
            collapsed=has_collapsed(folder.load_predictions("validation")),
            seconds=cost["train_seconds"],
            passes=cost["passes_per_update"],
            memory=cost["peak_memory_mb"],
            memory_of=cost.get("peak_memory_of", "process"),
            graphs=cost.get("graphs", False),
        )
    failure = run.folder / FAILURE
    return (
        replace(row, status=FAILED, reason=failure.read_text("utf-8", "replace").strip()) if failure.is_file() else row
    )


def finish_runs(runs: Sequence[Run], launch: Launch, at_once: int | None) -> None:
    """Launch every run that is not finished; runs that failed before are tried again.

    Args:
        runs: in the order in which they are launched.
        launch: takes a batch of overrides and the number of its first run, and returns when all of them have ended.
        at_once: number of runs in a batch; None: all.

    Raises:
        UserError: the launcher does not start any run.
    """
    unfinished = [run for run in runs if not run.is_finished]
    for run in unfinished:
        for name in (OUTPUT, FAILURE):
            (run.folder / name).unlink(missing_ok=True)
    numbers = {run.folder: number for number, run in enumerate(runs)}
    size = at_once or max(1, len(unfinished))
    for first in range(0, len(unfinished), size):
        _launch_batch(unfinished[first : first + size], launch, numbers)


def _launch_batch(batch: Sequence[Run], launch: Launch, numbers: dict[Path, int]) -> None:
    """Launch a batch. If a worker dies, launch the runs that had begun one by one, to find the run that killed it."""
    if not batch:
        return
    try:
        launch([run.overrides for run in batch], numbers[batch[0].folder])
    except worker_errors() as error:
        interrupted = [run for run in batch if run.has_begun and not run.has_ended]
        message = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {message[0]}" if message else type(error).__name__
        if not any(run.has_begun for run in batch):
            raise UserError(f"hydra/launcher has started no run ({reason}).") from error
        if len(batch) == 1 and interrupted:
            (batch[0].folder / FAILURE).write_text(
                f"its worker died ({reason}); is there enough memory for all runs at a time?\n", encoding="utf-8"
            )
            return
        for run in interrupted:
            _launch_batch([run], launch, numbers)
        _launch_batch([run for run in batch if not run.has_begun], launch, numbers)


def worker_errors() -> tuple[type[Exception], ...]:
    """The errors that launchers raise when a worker dies; those of joblib and submitit are RuntimeErrors."""
    ray = sys.modules.get("ray")
    return (RuntimeError, ray.exceptions.RayError) if ray else (RuntimeError,)


def write_csv(path: Path, spaces: Mapping[Space, Sequence[Row]]) -> None:
    """Write `runs.csv`: a line for each run, with a column for each factor, and one for the length if that varies."""
    has_lengths = len({space.length for space in spaces}) > 1
    factors = list(dict.fromkeys(factor.name for space in spaces for factor in space.factors))
    fields = ("status", "score", "collapsed", "seconds", "passes", "memory", "memory_of", "graphs", "reason")
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["data", *(["length"] if has_lengths else []), *factors, "seed", *fields, "folder"])
        for space, rows in spaces.items():
            for row in rows:
                by_factor = zip(space.factors, space.levels_of(row.arm), strict=True)
                levels = {factor.name: level.name for factor, level in by_factor}
                level_cells = [levels.get(factor, "") for factor in factors]
                field_cells = ["" if (value := getattr(row, field)) is None else value for field in fields]
                length_cells = [f"{space.length:g}"] if has_lengths else []
                writer.writerow([row.data, *length_cells, *level_cells, row.seed, *field_cells, row.folder.name])
