"""Attacks on word vectors: the common base of `fgm` and `pgd`.

Each row of the update has one perturbation, however the update is computed. `gradient` numbers the rows, every part of
the batch carries these indices, and the hook on the embedding layer reads the perturbation of each row by its index.
Parts of any size, several processes, mixtures and repeated passes therefore see the same perturbation of a row. Its
direction is the gradient of the full composed objective.
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

ROWS = "attack.places"


@dataclass
class Attack(Trick, ABC):
    """Add the gradient at perturbed word vectors to the clean gradient."""

    slots = {"gradient": "attack", "objective": "term"}

    def __post_init__(self) -> None:
        super().__post_init__()
        # The rows of the pass that runs now, set by `objective` and read by the hook. They are kept on self because a
        # forward hook gets only a module and tensors. The hook cannot be registered in `objective`, where the batch is
        # at hand: the hook registered last runs first, so the attack would then act before the mixing of word vectors.
        self._rows = torch.zeros(0, dtype=torch.long)

    @abstractmethod
    def steps(self) -> Sequence[tuple[float, float]]:
        """The steps of the attack, each as (length, radius of the ball around 0)."""

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Run the clean pass, one pass for each further step, and the pass whose gradient is added."""
        moves = [move for move in self.steps() if move[1]]
        if not moves:
            return inner(batch)
        vectors = cast(Tensor, word_embeddings(run.bare_model).weight)
        dtype = torch.promote_types(vectors.dtype, torch.float32)
        shape = (*batch.inputs["input_ids"].shape, vectors.shape[1])
        perturbation = torch.zeros(shape, dtype=dtype, device=vectors.device)
        rows = torch.arange(len(batch), device=vectors.device)
        indexed_batch = replace(batch, carried={**batch.carried, ROWS: rows})
        # The clean pass: its gradient stays in the parameters, and its direction is that of the first step.
        with run.no_sync():
            loss, direction = self._direction(run, inner, indexed_batch, perturbation)
        perturbation, skipped = take_step(perturbation, direction, *moves[0])
        # Further steps only look for a direction: their gradients of the weights are dropped.
        for move in moves[1:]:
            with run.no_sync(), set_gradients_aside(run.parameters):
                _, direction = self._direction(run, inner, indexed_batch, perturbation)
            perturbation, more = take_step(perturbation, direction, *move)
            skipped = skipped | more
        with self._perturb(run, indexed_batch, perturbation):
            inner(indexed_batch)
        run.log(rows_not_attacked=skipped.sum())
        return loss

    def _direction(
        self, run: Run, inner: Callable[[Batch], Loss], batch: Batch, perturbation: Tensor
    ) -> tuple[Loss, Tensor]:
        """Run a pass and compute its gradient in the perturbation; it is 0 for the rows of other processes."""
        leaf = perturbation.clone().requires_grad_()
        with self._perturb(run, batch, leaf):
            loss = inner(batch)
        return loss, torch.zeros_like(perturbation) if leaf.grad is None else leaf.grad

    @contextmanager
    def _perturb(self, run: Run, batch: Batch, perturbation: Tensor) -> Iterator[None]:
        """Inside this context the perturbation is added to the word vectors."""

        def add(vectors: Tensor) -> Tensor:
            # A part is narrower than the batch: it has lost padding.
            cut = perturbation.shape[1] - vectors.shape[1]
            tokens = slice(vectors.shape[1]) if batch.padding_side == "right" else slice(cut, None)
            return vectors + perturbation[self._rows, tokens].to(vectors.dtype)

        with word_vectors.modify(run.bare_model, perturbation.shape[1], add):
            yield

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Tell the hook which rows of the update run now."""
        if ROWS in batch.carried:
            self._rows = batch.carried[ROWS]
        return inner(batch)


def take_step(perturbation: Tensor, direction: Tensor, step: float, limit: float) -> tuple[Tensor, Tensor]:
    """Move each row's perturbation along its direction, then back into the ball around 0.

    Args:
        perturbation: (row, token, hidden).
        direction: (row, token, hidden); a row whose direction is 0 or not finite stays where it is.
        step: length of the step.
        limit: radius of the ball.

    Returns:
        The new perturbation, and a mask of the rows whose direction is not finite, (row).
    """
    length = direction.flatten(1).norm(dim=1)[:, None, None]
    finite = length.isfinite()
    unit = torch.where(finite & (length > 0), direction / length, 0.0)
    target = perturbation + step * unit
    distance = target.flatten(1).norm(dim=1)[:, None, None]
    return torch.where(distance > limit, target * (limit / distance), target), ~finite.flatten()
