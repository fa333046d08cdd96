"""AWP: take the gradient at weights moved in the direction that raises the loss most.

v_l = gamma |w_l| g_l / |g_l| for every weight w_l of two or more dimensions, where g_l is its gradient on this batch.
The update uses the gradient at w + v; then the weights are restored from a copy. During warm-up weights do not move.

Source: Wu, Xia, Wang 2020, Adversarial Weight Perturbation Helps Robust Generalization, arXiv 2004.05884 (gamma =
    0.005; there the inputs are attacked too: add fgm or pgd). Competition code adds the gradient at w as well. Without
    an attack on the inputs this is sharpness-aware minimization (Foret et al. 2021, arXiv 2010.01412), scaled by layer.
    The paper's gamma is for image classifiers; it breaks the training of text encoders. 0.0002 trains MiniLM on SST-2
    from 30 % of the updates on; from the end of the warm-up on, one seed of two ended with one class for all.
Cost: two passes, a copy of the weights and one of their gradients.
Use when: the model overfits and the loss is sharp. Avoid when: time is short: a plain run of twice the updates is the
    baseline to beat.
Composes: gradient/sharpen: inside plans and outside attacks, so attacks find their direction at the moved weights too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recipes import Batch, Loss, Run, Trick, allowed
from recipes.toolkit.adversarial import displace
from recipes.toolkit.gradients import set_gradients_aside


@dataclass
class Awp(Trick):
    """Replace the gradient by the one at moved weights."""

    gamma: float = allowed(
        "[0, inf)",
        advised="[0, 0.0005]",
        source="measured with MiniLM on SST-2: 0.0002 trains, 0.001 does not",
        above="the gradient is taken at weights that have forgotten what they know, and the model answers one class",
    )
    """How far a weight moves, as a fraction of its norm."""
    start: float = allowed("[0, 1]")
    """Fraction of all updates before the first one with moved weights; at least `train.warmup`."""

    slots = {"gradient": "sharpen"}
    neutral = {"gamma": 0.0}
    control = "train_longer"
    passes = 2.0
    replays = True

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Return the loss of the clean pass; weights move only if its gradient is finite."""
        start = max(self.start, run.config.train.warmup)
        if not self.gamma or run.by_updates(lambda updates: updates < start * run.total_updates):
            return inner(batch)
        with set_gradients_aside(run.parameters):
            loss = inner(batch)
            moves = {each: move for each in run.parameters if (move := self._move(each)) is not None}
        # On the device: reading it here would wait for the clean pass.
        is_finite = torch.isfinite(sum((move.abs().sum() for move in moves.values()), torch.zeros(())))
        with displace({weight: torch.where(is_finite, move, 0.0) for weight, move in moves.items()}):
            inner(batch)
        run.log(weights_moved=is_finite * len(moves))
        return loss

    def _move(self, weight: nn.Parameter) -> Tensor | None:
        if weight.grad is None or weight.dim() < 2:
            return None
        length = weight.grad.norm().clamp_min(torch.finfo(weight.dtype).tiny)
        move: Tensor = self.gamma * weight.detach().norm() / length * weight.grad
        return move
