"""Token cutoff: hide some words of each text during training.

Each token's word vector becomes 0 with probability `share`.

Source: Shen et al. 2020, A Simple but Tough-to-Beat Data Augmentation Approach, arXiv 2009.13818 (without its
    consistency term).
Cost: one pass.
Use when: data is scarce. Avoid when: single words decide.
Composes: plans in gradient/plan, for the full batch, so that all parts and passes hide the same tokens; hides in
    objective/term.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from recipes import Batch, Loss, Outcome, Run, Trick, allowed
from recipes.models import word_vectors

MASK = "cutoff.kept"


@dataclass
class Cutoff(Trick):
    """Hide tokens."""

    share: float = allowed("[0, 1)")
    """Probability of hiding a token."""

    slots = {"gradient": "plan", "objective": "term"}
    neutral = {"share": 0.0}

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Draw the tokens that stay, for the full batch at once."""
        mask = run.generator("cutoff", batch).random(tuple(batch.inputs["input_ids"].shape)) >= self.share
        return inner(replace(batch, carried={**batch.carried, MASK: torch.from_numpy(mask).to(batch.weights)}))

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Run the batch with the other word vectors set to 0."""
        mask = batch.carried[MASK][..., None]
        with word_vectors.modify(run.bare_model, mask.shape[1], lambda vectors: vectors * mask.to(vectors.dtype)):
            return inner(batch)
