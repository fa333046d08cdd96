"""The runs of a study: which are finished, and through the launcher all that are not; what is on disk is the truth."""

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recipes.ablation.design import Arm
from recipes.ablation.factors import Space
from recipes.ablation.worker import FAILURE, OUTPUT
from recipes.errors import UserError
from recipes.runs.files import atomic_write
from recipes.runs.folder import RunFolder, is_finished

FINISHED, FAILED, MISSING = "finished", "failed", "missing"
Launch = Callable[[Sequence[Sequence[str]], int], Any]


@dataclass(frozen=True)
class Run:
    """A run that a study wants."""

    space: Space
    data: str
    arm: Arm
    seed: int
    folder: Path

    @property
    def overrides(self) -> list[str]:
        """What `train.py` is given."""
        return self.space.overrides_of(self.arm, self.seed, self.data)

    @property
    def has_begun(self) -> bool:
        """Whether a worker has had it in hand since it was last given out."""
        return (self.folder / OUTPUT).exists()

    @property
    def has_ended(self) -> bool:
        """Whether it has a result, or a reason for none."""
        return is_finished(self.folder) or (self.folder / FAILURE).exists()


@dataclass(frozen=True)
class Row:
    """What a run came to."""

    data: str
    arm: Arm
    seed: int
    folder: Path
    status: str
    """`finished`, `failed` or `missing`."""
    reason: str | None = None
    """Why it failed."""
    score: float | None = None
    """The metric that chooses, on validation."""
    seconds: float | None = None
    passes: float | None = None
    """Forward and backward passes an update."""
    memory: float | None = None
    """The most at once, in MB."""
    memory_of: str | None = None
    """`run`, or `process` where the figure is of all runs of one process."""


def row_of(run: Run, metric: str) -> Row:
    """Read what is on disk."""
    row = Row(run.data, run.arm, run.seed, run.folder, MISSING)
    if is_finished(run.folder):
        metrics = RunFolder(run.folder).metrics
        cost = metrics["cost"]
        return replace(
            row,
            status=FINISHED,
            score=metrics["validation"][metric],
            seconds=cost["train_seconds"],
            passes=cost["passes_per_update"],
            memory=cost["peak_memory_mb"],
            memory_of=cost.get("peak_memory_of", "process"),
        )
    failure = run.folder / FAILURE
    return replace(row, status=FAILED, reason=failure.read_text(encoding="utf-8").strip()) if failure.exists() else row


def finish(runs: Sequence[Run], launch: Launch, at_once: int | None) -> None:
    """Have every run made that is not finished; those that have failed before are tried again.

    Args:
        runs: in the order in which they are given out.
        launch: takes a batch of overrides and the number of its first run, and returns when all of them have ended.
        at_once: how many runs it is given at once; None: all of them.

    Raises:
        UserError: the launcher starts none.
    """
    left = [run for run in runs if not is_finished(run.folder)]
    for run in left:
        for name in (OUTPUT, FAILURE):
            (run.folder / name).unlink(missing_ok=True)
    numbers = {run.folder: number for number, run in enumerate(runs)}
    size = at_once or max(1, len(left))
    for first in range(0, len(left), size):
        _give_out(left[first : first + size], launch, numbers)


def _give_out(batch: Sequence[Run], launch: Launch, numbers: dict[Path, int]) -> None:
    """Launch a batch; where a worker dies, those that were begun again one by one, until it is known which it was."""
    if not batch:
        return
    try:
        launch([run.overrides for run in batch], numbers[batch[0].folder])
    except crashes() as error:
        begun = [run for run in batch if run.has_begun and not run.has_ended]
        told = str(error).strip().splitlines()
        why = f"{type(error).__name__}: {told[0]}" if told else type(error).__name__
        if not any(run.has_begun for run in batch):
            raise UserError(f"hydra/launcher has started no run ({why}).") from error
        if len(batch) == 1 and begun:
            (batch[0].folder / FAILURE).write_text(
                f"its worker died ({why}); is there memory for so many runs at once?\n", encoding="utf-8"
            )
            return
        for run in begun:
            _give_out([run], launch, numbers)
        _give_out([run for run in batch if not run.has_begun], launch, numbers)


def crashes() -> tuple[type[Exception], ...]:
    """What launchers raise when a worker dies; joblib's and submitit's errors are of the first kind."""
    ray = sys.modules.get("ray")
    return (RuntimeError, ray.exceptions.RayError) if ray else (RuntimeError,)


def write_csv(path: Path, spaces: Mapping[Space, Sequence[Row]]) -> None:
    """Write `runs.csv`: a line a run, with a column for each factor."""
    names = list(dict.fromkeys(factor.name for space in spaces for factor in space.factors))
    measured = ("status", "score", "seconds", "passes", "memory", "memory_of", "reason")
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["data", *names, "seed", *measured, "folder"])
        for space, rows in spaces.items():
            for row in rows:
                chosen = zip(space.factors, space.levels_of(row.arm), strict=True)
                levels = {factor.name: level.name for factor, level in chosen}
                own = [levels.get(name, "") for name in names]
                found = ["" if (value := getattr(row, name)) is None else value for name in measured]
                writer.writerow([row.data, *own, row.seed, *found, row.folder.name])
