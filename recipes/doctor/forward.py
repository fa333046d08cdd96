"""One forward pass over a sample, and the first module in it whose output contains NaN or inf."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from recipes.base import evaluating
from recipes.data.batch import Batch

ROWS_AT_ONCE = 64
"""Rows in one forward pass."""


@dataclass(frozen=True)
class Forward:
    """The output of a model for a batch, with dropout off."""

    batch: Batch
    logits: Tensor
    """(row, class), in 32 bits."""
    non_finite: tuple[str, Sequence[str]] | None
    """The first module whose output contains NaN or inf, and the ids of those rows where the module sees rows."""


def run_forward(model: nn.Module, batch: Batch) -> Forward:
    """Pass a batch through a model, `ROWS_AT_ONCE` rows at a time."""
    logits: list[Tensor] = []
    non_finite: tuple[str, Sequence[str]] | None = None
    for number, start in enumerate(range(0, len(batch), ROWS_AT_ONCE)):
        part = batch.take(np.arange(start, min(start + ROWS_AT_ONCE, len(batch))), number)
        with evaluating(model), _record_non_finite(model) as modules:
            logits.append(model(**part.inputs).logits.float())
        if modules and non_finite is None:
            name, rows = modules[0]
            non_finite = name, [part.ids[row] for row in rows if row < len(part)]
    return Forward(batch, torch.cat(logits), non_finite)


@contextmanager
def _record_non_finite(model: nn.Module) -> Iterator[list[tuple[str, list[int]]]]:
    """Record the first module whose output contains NaN or inf, and its rows."""
    modules: list[tuple[str, list[int]]] = []

    def hook_for(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if modules or not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                return
            bad = ~torch.isfinite(tensor)
            if bad.any():
                rows = bad.flatten(1).any(1).nonzero().flatten().tolist() if bad.dim() > 1 else []
                modules.append((name, rows))

        return hook

    # Only leaves: their first bad output is where the fault is; the modules around them repeat it.
    handles = [
        module.register_forward_hook(hook_for(name))
        for name, module in model.named_modules()
        if name and not list(module.children())
    ]
    try:
        yield modules
    finally:
        for handle in handles:
            handle.remove()
