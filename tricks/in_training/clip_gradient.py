"""Clip gradient: limit each value of the gradient, or each unit's gradient in proportion to its weights.

`value`: g <- min(max(g, -limit), limit). `adaptive`: g_u <- g_u * min(1, limit * max(|w_u|, 0.001) / |g_u|) for each
unit u. A unit is a row of a weight of two or more dimensions, or a full vector. The head is not clipped.

Source: adaptive: Brock, De, Smith, Simonyan 2021, High-Performance Large-Scale Image Recognition Without Normalization,
    arXiv 2102.06171 (AGC; there, too, without the last layer). No evidence was found for fine-tuned encoders.
Cost: one pass; a norm of each weight and each gradient.
Use when: single updates damage training and one norm over all weights hides which layer is the cause.
Avoid when: train.clip_norm is enough: it is better tested.
Composes: update/clip: right before the step, on the gradient of the full update. It sets train.clip_norm=null. With
    a loss scale the limit is scaled too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recipes import Run, Trick, allowed

# Smallest norm of a unit: a unit with zero weights, such as a new bias, could otherwise never learn.
LEAST_NORM = 1e-3


@dataclass
class ClipGradient(Trick):
    """Clip before the step."""

    method: str = allowed("value | adaptive")
    """How the gradient is limited."""
    limit: float = allowed(
        "(0, inf]",
        advised="[0.01, 1]",
        source="adaptive: 0.01 to 0.16 in Brock et al. 2021, arXiv 2102.06171; value: 0.5",
        below="every gradient is scaled down to almost nothing",
        above="hardly any gradient is limited",
    )
    """Of a value, or of a unit's gradient norm relative to its weights."""

    slots = {"update": "clip"}
    neutral = {"limit": float("inf")}
    sets = {"train.clip_norm": None}

    def update(self, run: Run, inner: Callable[[], None]) -> None:
        """Clip, then step; with a loss scaler the gradients are still scaled here."""
        scaler = run.accelerator.scaler
        limit = run.head.weight.new_full((), self.limit)
        # A scaled tensor, since reading the scale would wait for the GPU.
        limit = limit if scaler is None else scaler.scale(limit)
        head = set(run.head.parameters())
        for weight in run.parameters:
            if weight.grad is None:
                continue
            if self.method == "value":
                weight.grad.clamp_(-limit, limit)
            elif weight not in head:
                limits = limit * compute_unit_norms(weight.detach()).clamp_min(LEAST_NORM)
                weight.grad *= (limits / compute_unit_norms(weight.grad)).clamp_max(1.0).nan_to_num(1.0)
        inner()


def compute_unit_norms(values: Tensor) -> Tensor:
    """The norm of each row, or of a full vector, in a shape that broadcasts to the values."""
    inside = tuple(range(1, values.dim())) or None
    norms: Tensor = torch.linalg.vector_norm(values, dim=inside, keepdim=True)
    return norms
