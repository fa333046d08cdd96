"""Accumulate: run a batch in parts that fit in memory and step once.

gradient = sum over parts of sum_i w_i loss_i / W, where W is the weight of the full batch. This is exactly the gradient
of the batch in one pass, for any part size and with a shorter last part. Only dropout differs: each part draws its own.

With `part_size` null the trick finds the most rows that fit. It starts with the full batch and halves the size whenever
memory runs out. The gradients of the failed attempt are discarded, and the batch is run again. Several processes must
agree on a size, so they try the longest rows before training.

Source: the usual 1/k per part gives a short last part too much weight (huggingface/transformers#34191 and #38837);
    weighting each part by its rows does not.
Cost: the same passes over fewer rows at a time. Memory falls with the part size; small parts cost time. Finding the
    size costs a few passes.
Use when: the batch does not fit in memory, or the loss fluctuates because batches are small.
Avoid when: the batch fits. Null on a CPU: there the system kills a process that uses too much memory.
Composes: gradient/split: innermost, so attacks and mixing see the full batch.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recipes import Batch, Loss, Run, Trick, UserError, allowed
from recipes.toolkit.gradients import add_gradients, set_gradients, set_gradients_aside, take_gradients


@dataclass
class Accumulate(Trick):
    """Split the batch and add up the gradients of its parts."""

    part_size: int | None = allowed(
        "[1, inf)",
        advised="[4, inf)",
        below="every part costs a pass, so an update takes many times as long, for the same result",
    )
    """Rows of a part on one process; null: the most that fit."""

    slots = {"gradient": "split"}
    neutral = {"part_size": 1_000_000}
    remedies = {
        "update_out_of_memory": "+tricks=[{name}] tricks.{name}.part_size=null runs it in the largest parts that "
        "fit, with the same result",
        "batch_out_of_memory": "+tricks=[{name}] tricks.{name}.part_size={rows}",
        "large_batch": "+tricks=[{name}] makes them fit",
    }
    replays = "its parts are as small as memory is, and replays need memory of their own"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fitting_size = 0

    def check(self, run: Run) -> Iterable[str]:
        """Warn if one part holds the full batch."""
        if self.part_size is not None and self.part_size >= run.config.train.batch_size:
            yield (
                f"tricks.{self.name}.part_size={self.part_size} holds all of train.batch_size="
                f"{run.config.train.batch_size}, so nothing is accumulated; a smaller part_size, or a larger batch."
            )

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Run the batch in parts of `part_size` rows, or of the size that was found to fit."""
        if self.part_size is not None:
            return run_in_parts(run, inner, batch, self.part_size)
        if not self.fitting_size:
            self.fitting_size = -(-run.config.train.batch_size // run.accelerator.num_processes)
            if run.accelerator.num_processes > 1:
                self._agree(run, inner)
        while (loss := try_parts(run, inner, batch, self.fitting_size)) is None:
            if run.accelerator.num_processes > 1:
                raise self._out_of_memory(f"though {self.fitting_size} rows fitted before")
            self._halve()
        run.log(part_size=self.fitting_size)
        return loss

    def _agree(self, run: Run, inner: Callable[[Batch], Loss]) -> None:
        """Try the longest rows on each process until they fit on all."""
        longest = np.argsort(-run.train.lengths, kind="stable")[: run.config.train.batch_size]
        batch = run.train.collate(longest, 0, 0).to(run.accelerator.device)
        counts = run.rows_passed, run.parts_passed
        distributed_model, run.model = (
            run.model,
            run.bare_model,
        )  # no synchronization: a failed process would block the others
        try:
            while self._count_failures(run, inner, batch):
                self._halve()
        finally:
            run.model = distributed_model
            run.rows_passed, run.parts_passed = counts

    def _count_failures(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> int:
        with set_gradients_aside(run.parameters):
            failed = try_parts(run, inner, batch, self.fitting_size) is None
        return int(run.accelerator.reduce(torch.tensor(int(failed), device=run.accelerator.device)))

    def _halve(self) -> None:
        if self.fitting_size == 1:
            raise self._out_of_memory("with a single row")
        self.fitting_size = -(-self.fitting_size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _out_of_memory(self, when: str) -> UserError:
        sentence = f"tricks.{self.name}.part_size: memory ran out {when}; lower data.max_length, or set a part size."
        return UserError(sentence)

    def state(self) -> dict[str, Any]:
        """The size that fits."""
        return {"found": self.fitting_size}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the size."""
        self.fitting_size = state["found"]


def try_parts(run: Run, inner: Callable[[Batch], Loss], batch: Batch, part_size: int) -> Loss | None:
    """Run a batch in parts; return None if memory runs out, with gradients and counters restored."""
    before, counts = take_gradients(run.parameters), (run.rows_passed, run.parts_passed)
    try:
        loss = run_in_parts(run, inner, batch, part_size)
    except torch.OutOfMemoryError:
        set_gradients(run.parameters, before)
        run.rows_passed, run.parts_passed = counts
        return None
    add_gradients(run.parameters, before)
    return loss


def run_in_parts(run: Run, inner: Callable[[Batch], Loss], batch: Batch, part_size: int) -> Loss:
    """Run a batch in parts, the longest rows first, so that a lack of memory shows at once."""
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
