"""The gradient at moved weights: the common base of `awp` and `sam`, which differ in how they move the weights.

The clean pass finds the direction, from the gradient of the full composed objective over the full update. Then the
weights are moved, the pass whose gradient counts is run, and the weights are restored from a copy, also after an error.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recipes.data.batch import Batch, Loss
from recipes.ranges import allowed
from recipes.toolkit.gradients import set_gradients_aside
from recipes.trick import Run, Trick


@dataclass
class Sharpen(Trick, ABC):
    """Replace the gradient by the one at moved weights."""

    start: float = allowed("[0, 1]")
    """Fraction of all updates before the first one with moved weights."""

    slots = {"gradient": "sharpen"}
    control = "train_longer"
    passes = 2.0
    replays = True

    @abstractmethod
    def distance(self) -> float:
        """How far the weights move, in the trick's own unit; 0: not at all."""

    @abstractmethod
    def find_moves(self, run: Run) -> Mapping[nn.Parameter, Tensor]:
        """Compute what is added to each weight, from the gradients of the clean pass."""

    def starts_at(self, run: Run) -> float:
        """The fraction of all updates before the first one with moved weights."""
        return self.start

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Return the loss of the clean pass; weights move only if its gradient is finite."""
        start = self.starts_at(run)
        if not self.distance() or run.by_updates(lambda updates: updates < start * run.total_updates):
            return inner(batch)
        with set_gradients_aside(run.parameters):
            loss = inner(batch)
            moves = self.find_moves(run)
        # On the device: reading it here would wait for the clean pass.
        is_finite = torch.isfinite(sum((move.abs().sum() for move in moves.values()), torch.zeros(())))
        with displace({weight: torch.where(is_finite, move, 0.0) for weight, move in moves.items()}):
            inner(batch)
        run.log(weights_moved=is_finite * len(moves))
        return loss


@contextmanager
def displace(moves: Mapping[nn.Parameter, Tensor]) -> Iterator[None]:
    """Inside this context the weights are moved; then they are restored from a copy."""
    own = {weight: weight.detach().clone() for weight in moves}
    try:
        with torch.no_grad():
            for weight, move in moves.items():
                weight.add_(move)
        yield
    finally:
        with torch.no_grad():
            for weight, value in own.items():
                weight.copy_(value)
