"""Attacks on word vectors: what `fgm` and `pgd` share.

A perturbation belongs to a row of the update, wherever that row is computed: the plan gives each row its place, parts
and copies carry it on, and the hook that adds the perturbation looks it up. So parts of any size, several processes,
mixtures and copies that are compared all see one perturbation a row, and its direction is that of the whole composed
objective.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from recipes.data.batch import Batch, Loss, Outcome
from recipes.models import word_vectors
from recipes.models.anatomy import word_embeddings
from recipes.toolkit.gradients import set_gradients_aside
from recipes.trick import Run, Trick

PLACES = "attack.places"


@dataclass
class Attack(Trick, ABC):
    """Take the clean gradient, then add that at perturbed word vectors."""

    slots = {"gradient": "attack", "objective": "term"}

    def __post_init__(self) -> None:
        """Which rows run now is not known yet."""
        super().__post_init__()
        self._places = torch.zeros(0, dtype=torch.long)

    @abstractmethod
    def steps(self) -> Sequence[tuple[float, float]]:
        """The moves of an attack: how far each goes, and how far from the start it may lead."""

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """The clean pass, a pass for each further move, and the pass whose gradient is added."""
        moves = [move for move in self.steps() if move[1]]
        if not moves:
            return inner(batch)
        vectors = cast(Tensor, word_embeddings(run.bare_model).weight)
        kind = torch.promote_types(vectors.dtype, torch.float32)
        shape = (*batch.inputs["input_ids"].shape, vectors.shape[1])
        there = torch.zeros(shape, dtype=kind, device=vectors.device)
        places = torch.arange(len(batch), device=vectors.device)
        placed = replace(batch, carried={**batch.carried, PLACES: places})
        with run.no_sync():
            loss, direction = self._direction(run, inner, placed, there)
        there, skipped = moved(there, direction, *moves[0])
        for move in moves[1:]:
            with run.no_sync(), set_gradients_aside(run.parameters):
                _, direction = self._direction(run, inner, placed, there)
            there, more = moved(there, direction, *move)
            skipped = skipped | more
        with self._added(run, there):
            inner(placed)
        run.log(rows_not_attacked=skipped.sum())
        return loss

    def _direction(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch, there: Tensor) -> tuple[Loss, Tensor]:
        """A pass at a perturbation, and the gradient in it; 0 for the rows of other processes."""
        leaf = there.clone().requires_grad_()
        with self._added(run, leaf):
            loss = inner(batch)
        return loss, torch.zeros_like(there) if leaf.grad is None else leaf.grad

    @contextmanager
    def _added(self, run: Run, perturbation: Tensor) -> Iterator[None]:
        def add(vectors: Tensor) -> Tensor:
            return vectors + perturbation[self._places, : vectors.shape[1]].to(vectors.dtype)

        with word_vectors.changed(run.bare_model, perturbation.shape[1], add):
            yield

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Which rows these are, for the hook."""
        if PLACES in batch.carried:
            self._places = batch.carried[PLACES]
        return inner(batch)


def moved(there: Tensor, direction: Tensor, step: float, limit: float) -> tuple[Tensor, Tensor]:
    """Move each row's perturbation along its direction, then back into the ball around 0.

    Args:
        there: (row, token, hidden).
        direction: the same; a row where it is 0 or not finite stays.
        step: length of the move.
        limit: radius of the ball.

    Returns:
        The perturbation, and which rows stayed because their direction is not finite, (row).
    """
    length = direction.flatten(1).norm(dim=1)[:, None, None]
    finite = length.isfinite()
    unit = torch.where(finite & (length > 0), direction / length, 0.0)
    further = there + step * unit
    distance = further.flatten(1).norm(dim=1)[:, None, None]
    return torch.where(distance > limit, further * (limit / distance), further), ~finite.flatten()
