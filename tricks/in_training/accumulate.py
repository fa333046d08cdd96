"""Accumulate: run a batch in parts that fit in memory and step once.

gradient = sum over parts of sum_i w_i loss_i / W, W the weight of the whole batch: exactly the gradient of the batch
in one piece (with dropout off; with dropout on each part draws its own), whatever the part size, ragged last part
included.

`part_size` null finds the most rows that fit: it begins with the whole batch, and whenever memory runs out half as many
are tried; the batch at hand is done again, whole, and what was added of it is taken back. Several processes must agree,
so they try the longest rows before training.

Source: the usual 1/k per part weighs a short last part too much (huggingface/transformers#34191 and #38837); weighting
    by what each part really holds does not.
Cost: the same passes over fewer rows at a time; memory falls with the part size, small parts cost time. Finding it
    costs a few passes.
Use when: the batch that training wants does not fit, or the loss fluctuates because the batches are small.
Avoid when: the batch fits. With null on a CPU: there the system ends a process that takes too much.
Composes: seam gradient, layer split: innermost, so attacks and mixing see the whole batch.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recipes import Batch, Loss, Run, Trick, UserError, allowed
from recipes.toolkit.gradients import add, copy_gradients, restore, set_gradients_aside


@dataclass
class Accumulate(Trick):
    """Split the batch; the parts' shares add up."""

    part_size: int | None = allowed("[1, inf)")
    """Rows of one process's part; null: the most that fit."""

    slots = {"gradient": "split"}
    neutral = {"part_size": 1_000_000}
    remedies = {
        "update_out_of_memory": "+tricks=[{name}] tricks.{name}.part_size=null runs it in the largest parts that "
        "fit, with the same result",
        "batch_out_of_memory": "+tricks=[{name}] tricks.{name}.part_size={rows}",
        "large_batch": "+tricks=[{name}] makes them fit",
    }

    def __post_init__(self) -> None:
        """Nothing has been tried yet."""
        super().__post_init__()
        self.found = 0

    def check(self, run: Run) -> Iterable[str]:
        """Parts that hold the whole batch."""
        if self.part_size is not None and self.part_size >= run.config.train.batch_size:
            yield (
                f"tricks.{self.name}.part_size={self.part_size} holds all of train.batch_size="
                f"{run.config.train.batch_size}, so nothing is accumulated; a smaller part_size, or a larger batch."
            )

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """With a given size, or with the one that was found."""
        if self.part_size is not None:
            return in_parts(run, inner, batch, self.part_size)
        if not self.found:
            self.found = -(-run.config.train.batch_size // run.accelerator.num_processes)
            if run.accelerator.num_processes > 1:
                self._agree(run, inner)
        while (loss := attempt(run, inner, batch, self.found)) is None:
            if run.accelerator.num_processes > 1:
                raise self._too_much(f"though {self.found} rows fitted before")
            self._halve()
        run.log(part_size=self.found)
        return loss

    def _agree(self, run: Run, inner: Callable[[Batch], Loss]) -> None:
        """Try the longest rows, each process for itself, until they fit everywhere."""
        longest = np.argsort(-run.train.lengths, kind="stable")[: run.config.train.batch_size]
        batch = run.train.collate(longest, 0, 0).to(run.accelerator.device)
        counted = run.rows_passed, run.parts_passed
        together, run.model = run.model, run.bare_model  # a process that fails would keep the others waiting
        try:
            while self._processes_that_fail(run, inner, batch):
                self._halve()
        finally:
            run.model = together
            run.rows_passed, run.parts_passed = counted

    def _processes_that_fail(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> int:
        with set_gradients_aside(run.parameters):
            failed = attempt(run, inner, batch, self.found) is None
        return int(run.accelerator.reduce(torch.tensor(int(failed), device=run.accelerator.device)))

    def _halve(self) -> None:
        if self.found == 1:
            raise self._too_much("with a single row")
        self.found = -(-self.found // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _too_much(self, when: str) -> UserError:
        sentence = f"tricks.{self.name}.part_size: memory ran out {when}; lower data.max_length, or give a part size."
        return UserError(sentence)

    def state(self) -> dict[str, Any]:
        """What was found."""
        return {"found": self.found}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on with it."""
        self.found = state["found"]


def attempt(run: Run, inner: Callable[[Batch], Loss], batch: Batch, part_size: int) -> Loss | None:
    """Run a batch in parts; None where memory ends, and then gradients and counts are what they were."""
    before, counted = copy_gradients(run.parameters), (run.rows_passed, run.parts_passed)
    try:
        loss = in_parts(run, inner, batch, part_size)
    except torch.OutOfMemoryError:
        restore(run.parameters, before)
        run.rows_passed, run.parts_passed = counted
        return None
    add(run.parameters, before)
    return loss


def in_parts(run: Run, inner: Callable[[Batch], Loss], batch: Batch, part_size: int) -> Loss:
    """Run the longest rows first, so that what does not fit shows at once."""
    order = np.argsort(-batch.lengths.numpy(), kind="stable")
    size = part_size * run.accelerator.num_processes
    if size >= len(batch):
        return inner(batch)
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    total = Loss()
    for number, rows in enumerate(parts):
        with run.no_sync() if number < len(parts) - 1 else nullcontext():
            total += inner(batch.take(rows, number))
    return total
