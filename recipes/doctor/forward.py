"""One forward pass over a sample, and where in it what is no number first appears."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from recipes.base import evaluating
from recipes.data.batch import Batch

PIECE = 64
"""Rows that are passed at once."""


@dataclass(frozen=True)
class Forward:
    """What a model, with dropout off, makes of a batch."""

    batch: Batch
    logits: Tensor
    """(row, class), in 32 bits."""
    broken: tuple[str, Sequence[str]] | None
    """The first module whose output is no number, and the ids of the rows it is so for, where they can be told."""


def forward_of(model: nn.Module, batch: Batch) -> Forward:
    """Pass a batch through a model, piece by piece."""
    logits: list[Tensor] = []
    broken: tuple[str, Sequence[str]] | None = None
    for number, start in enumerate(range(0, len(batch), PIECE)):
        piece = batch.take(np.arange(start, min(start + PIECE, len(batch))), number)
        with evaluating(model), _first_not_finite(model) as found:
            logits.append(model(**piece.inputs).logits.float())
        if found and broken is None:
            name, rows = found[0]
            broken = name, [piece.ids[row] for row in rows if row < len(piece)]
    return Forward(batch, torch.cat(logits), broken)


@contextmanager
def _first_not_finite(model: nn.Module) -> Iterator[list[tuple[str, list[int]]]]:
    """Collect the first module whose output is no number, and the rows that it is so for."""
    found: list[tuple[str, list[int]]] = []

    def looked_at(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if found or not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                return
            bad = ~torch.isfinite(tensor)
            if bad.any():
                found.append((name, bad.flatten(1).any(1).nonzero().flatten().tolist() if bad.dim() > 1 else []))

        return hook

    handles = [
        module.register_forward_hook(looked_at(name))
        for name, module in model.named_modules()
        if name and not list(module.children())
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
