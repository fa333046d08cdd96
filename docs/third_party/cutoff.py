"""Token cutoff: train on texts with some of their words hidden.

Each token's word vector becomes 0 with probability `fraction`.

Source: Shen et al. 2020, A Simple but Tough-to-Beat Data Augmentation Approach, arXiv 2009.13818 (without its
    consistency term).
Cost: one pass.
Use when: data is scarce. Avoid when: single words decide.
Composes: draws the tokens in gradient/plan, for the whole batch, so that every part and every further pass hides the
    same ones; hides them in objective/term.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recipes import Batch, Loss, Outcome, Run, Trick, allowed
from recipes.models import word_vectors

VISIBLE = "cutoff.visible"


@dataclass
class Cutoff(Trick):
    """Hide tokens."""

    fraction: float = allowed("[0, 1)")
    """The fraction of tokens that are hidden."""

    slots = {"gradient": "plan", "objective": "term"}
    neutral = {"fraction": 0.0}
    replays = True

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Draw the visible tokens, for the whole batch at once."""
        draws = run.generator("cutoff", batch).random(tuple(batch.inputs["input_ids"].shape))
        visible = torch.from_numpy(draws >= self.fraction).to(batch.weights)  # 0 or 1, (row, token)
        return inner(replace(batch, carried={**batch.carried, VISIBLE: visible}))

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Run the batch with the word vectors of the other tokens set to 0."""
        visible = batch.carried[VISIBLE][..., None]

        def hide(vectors: Tensor) -> Tensor:
            return vectors * visible.to(vectors.dtype)

        with word_vectors.modify(run.bare_model, visible.shape[1], hide):
            return inner(batch)
