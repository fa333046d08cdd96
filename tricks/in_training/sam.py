"""SAM: take the gradient at weights moved by a fixed distance towards a higher loss, which leads to flat minima.

v = rho g / |g|, where g is the gradient on this batch and |g| its norm over all weights together. The update uses the
gradient at w + v; then the weights are restored from a copy. With `adaptive` v = rho T^2 g / |T g|: T is |w| + eta for
each value of a weight and 1 for a bias, so that v does not depend on the scale of the weights (ASAM).

Source: Foret, Kleiner, Mobahi, Neyshabur 2021, Sharpness-Aware Minimization for Efficiently Improving Generalization,
    arXiv 2010.01412 (rho 0.05); for language models: Bahri, Mobahi, Tay 2022, arXiv 2110.08529 (rho 0.15); adaptive:
    Kwon, Kim, Park, Choi 2021, ASAM, arXiv 2102.11600 (rho 0.5, eta 0.01). Weights are all parameters whose name has
    "weight", as in their code (SamsungLabs/ASAM at dc9b513). Both passes have the same dropout, as in the
    code of Foret et al. They take the direction on each device alone, here it is that of the full update.
Cost: two passes, a copy of the weights and one of their gradients.
Use when: the model overfits and the loss is sharp. Avoid when: time is short: a plain run of twice the updates is the
    baseline to beat. It is not shown to help here: with MiniLM on 500 rows of TREC and 300 updates the
    accuracy moved by +0.0120 ± 0.0277 (three seeds; docs/evidence/regularization.md).
Composes: gradient/sharpen: inside plans and outside attacks, so attacks find their direction at the moved weights too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recipes import Run, allowed
from recipes.toolkit.sharpness import Sharpen


@dataclass
class Sam(Sharpen):
    """Replace the gradient by the one at weights that moved by one distance, all together."""

    rho: float = allowed(
        "[0, inf)",
        advised="[0.01, 2]",
        source="0.01 to 0.5 were tried in Foret et al. 2021, arXiv 2010.01412, and 0.5 to 2 if adaptive",
        below="it trains as without the trick",
        above="the gradient is taken too far away, and training fails",
    )
    """How far all weights together move."""
    adaptive: bool = allowed("")
    """Whether each value moves in proportion to its size (ASAM)."""
    eta: float = allowed("[0, inf)")
    """Added to the size of each value; only adaptive reads it."""

    neutral = {"rho": 0.0}

    def distance(self) -> float:
        """The norm of the move, before it is scaled by the weights."""
        return self.rho

    def find_moves(self, run: Run) -> Mapping[nn.Parameter, Tensor]:
        """Move all weights along the gradient, by one norm over all of them."""
        weights = dict(run.bare_model.named_parameters())
        gradients = {name: each.grad for name, each in weights.items() if each.grad is not None}
        scales = {name: self._scale(name, weights[name]) for name in gradients}
        scaled = {name: scales[name] * gradient for name, gradient in gradients.items()}
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each) for each in scaled.values()]))
        step = self.rho / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        return {weights[name]: step * scales[name] * each for name, each in scaled.items()}

    def _scale(self, name: str, weight: nn.Parameter) -> Tensor | float:
        return weight.detach().abs() + self.eta if self.adaptive and "weight" in name else 1.0
