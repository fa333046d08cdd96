"""Accumulate: run a batch in parts that fit in memory and step once.

gradient = sum over parts of sum_i w_i loss_i / W, W the weight of the whole batch: exactly the gradient of the batch
in one piece (with dropout off; with dropout on each part draws its own), whatever the part size, ragged last part
included.

Source: the usual 1/k per part weighs a short last part too much (huggingface/transformers#34191 and #38837); weighting
    by what each part really holds does not.
Cost: the same passes over fewer rows at a time; memory falls with the part size, small parts cost time.
Use when: the batch that training wants does not fit, or the loss fluctuates because the batches are small.
Avoid when: the batch fits.
Composes: seam gradient, layer split: innermost, so attacks and mixing see the whole batch.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from recipes import Batch, Loss, Run, Trick, allowed


@dataclass
class Accumulate(Trick):
    """Split the batch; the parts' shares add up."""

    part_size: int = allowed("[1, inf)")
    """Rows of one process's part."""

    layers = {"gradient": "split"}
    neutral = {"part_size": 1_000_000}

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Run the longest rows first, so that what does not fit shows at once."""
        order = np.argsort(-batch.lengths.numpy(), kind="stable")
        size = self.part_size * run.accelerator.num_processes
        if size >= len(batch):
            return inner(batch)
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        total = Loss()
        for number, rows in enumerate(parts):
            with run.no_sync() if number < len(parts) - 1 else nullcontext():
                total += inner(batch.take(rows, number))
        return total
