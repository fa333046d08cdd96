"""AWP: take the gradient at weights moved in the direction that raises the loss most.

v_l = gamma |w_l| g_l / |g_l| for every weight w_l of two or more dimensions, where g_l is its gradient on this batch.
The update uses the gradient at w + v; then the weights are restored from a copy. During warm-up weights do not move.

Source: Wu, Xia, Wang 2020, Adversarial Weight Perturbation Helps Robust Generalization, arXiv 2004.05884 (gamma =
    0.005; there the inputs are attacked too: add fgm or pgd). Competition code adds the gradient at w as well. Without
    an attack on the inputs this is sharpness-aware minimization, scaled by layer (`sam` has one norm for all weights).
    The paper's gamma is for image classifiers; it breaks the training of text encoders. 0.0002 trains MiniLM on SST-2
    from 30 % of the updates on; from the end of the warm-up on, one seed of two ended with one class for all.
Cost: two passes, a copy of the weights and one of their gradients.
Use when: the model overfits and the loss is sharp. Avoid when: time is short: a plain run of twice the updates is the
    baseline to beat.
Composes: gradient/sharpen: inside plans and outside attacks, so attacks find their direction at the moved weights too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recipes import Run, allowed
from recipes.toolkit.sharpness import Sharpen


@dataclass
class Awp(Sharpen):
    """Replace the gradient by the one at weights that moved by a fraction of their norms, layer by layer."""

    gamma: float = allowed(
        "[0, inf)",
        advised="[0, 0.0005]",
        source="measured with MiniLM on SST-2: 0.0002 trains, 0.001 does not",
        above="the gradient is taken at weights that have forgotten what they know, and the model answers one class",
    )
    """How far a weight moves, as a fraction of its norm."""

    neutral = {"gamma": 0.0}

    def distance(self) -> float:
        """The fraction of its norm that a weight moves by."""
        return self.gamma

    def starts_at(self, run: Run) -> float:
        """Never during warm-up."""
        return max(self.start, run.config.train.warmup)

    def find_moves(self, run: Run) -> Mapping[nn.Parameter, Tensor]:
        """Move each weight of two or more dimensions by a fraction of its own norm."""
        return {each: move for each in run.parameters if (move := self._move(each)) is not None}

    def _move(self, weight: nn.Parameter) -> Tensor | None:
        if weight.grad is None or weight.dim() < 2:
            return None
        length = weight.grad.norm().clamp_min(torch.finfo(weight.dtype).tiny)
        move: Tensor = self.gamma * weight.detach().norm() / length * weight.grad
        return move
