"""Label smoothing: targets a little less sure than the labels.

t' = (1 - e) t + e / C; with several labels to a row t' = (1 - e) t + e / 2, class by class.

Source: Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, arXiv 1512.00567, e = 0.1;
    why it calibrates: Mueller, Kornblith, Hinton 2019, arXiv 1906.02629.
Cost: one pass.
Use when: the model is too sure of itself, labels are noisy. Avoid when: the model is to teach another (Mueller et al.),
    or its probabilities are calibrated afterwards anyway.
Composes: loss/targets: after mixing, which is the same in either order, before weighing and the criterion.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from recipes import Run, Trick, allowed


@dataclass
class LabelSmoothing(Trick):
    """Move the targets towards the even ones."""

    amount: float = allowed("[0, 1)")
    """Of a target that is dealt to all classes alike."""

    slots = {"loss": "targets"}
    neutral = {"amount": 0.0}

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """The even target is 1/C each, or 1/2 where a row has several labels."""
        even = 1 / 2 if run.multi_label else 1 / targets.shape[-1]
        return inner(logits, (1 - self.amount) * targets + self.amount * even)
