"""Label smoothing: make targets a little less confident than the labels.

t' = (1 - e) t + e / C; with multiple labels per row t' = (1 - e) t + e / 2 for each class.

Source: Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, arXiv 1512.00567, e = 0.1;
    why it calibrates: Mueller, Kornblith, Hinton 2019, arXiv 1906.02629.
Cost: one pass.
Use when: the model is overconfident, or labels are noisy. Avoid when: the model will be a teacher in distillation
    (Mueller et al.), or its probabilities are calibrated afterwards anyway.
Composes: loss/targets: after mixing (the order makes no difference), before class weights and the criterion.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from recipes import Run, Trick, allowed


@dataclass
class LabelSmoothing(Trick):
    """Move the targets towards a uniform distribution."""

    amount: float = allowed(
        "[0, 1)",
        advised="[0, 0.2]",
        source="0.1 in Szegedy et al. 2016, arXiv 1512.00567",
        above="targets are so even that the loss can hardly fall, and probabilities mean nothing",
    )
    """Fraction of a target that is spread over all classes."""

    slots = {"loss": "targets"}
    neutral = {"amount": 0.0}
    replays = True

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """Smooth the targets towards 1/C, or 1/2 with multiple labels per row."""
        uniform = 1 / 2 if run.multi_label else 1 / targets.shape[-1]
        return inner(logits, (1 - self.amount) * targets + self.amount * uniform)
