"""Clip gradient: limit each number of the gradient, or each unit's gradient in proportion to its weights.

`value`: g <- min(max(g, -limit), limit). `adaptive`: for each unit u, a row of a weight of two or more dimensions, else
the whole of it: g_u <- g_u * min(1, limit * max(|w_u|, 0.001) / |g_u|); the head is left out.

Source: adaptive: Brock, De, Smith, Simonyan 2021, High-Performance Large-Scale Image Recognition Without Normalization,
    arXiv 2102.06171 (AGC; there, too, without the last layer). On fine-tuned encoders no evidence was found.
Cost: one pass; a norm of each weight and each gradient.
Use when: single updates spoil training and a norm of all weights together hides which layer it is.
Avoid when: train.clip_norm does: it is the tried one.
Composes: update/clip: right before the step, on the whole update's gradient. Needs train.clip_norm=null. With a loss
    scale the limit is scaled likewise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recipes import Run, Trick, allowed

# A unit whose weights are 0, as a new bias is, could never learn.
LEAST_NORM = 1e-3


@dataclass
class ClipGradient(Trick):
    """Clip before the step."""

    method: str = allowed("value | adaptive")
    """Which limit."""
    limit: float = allowed("(0, inf]")
    """Of a number, or of a unit's gradient as a share of its weights."""

    slots = {"update": "clip"}
    neutral = {"limit": float("inf")}
    needs = {"train.clip_norm": None}

    def update(self, run: Run, inner: Callable[[], None]) -> None:
        """Gradients are still scaled here, where they are scaled at all."""
        scaler = run.accelerator.scaler
        limit = self.limit * (1.0 if scaler is None else scaler.get_scale())
        head = set(run.head.parameters())
        for weight in run.parameters:
            if weight.grad is None:
                continue
            if self.method == "value":
                weight.grad.clamp_(-limit, limit)
            elif weight not in head:
                most = limit * norm_of_units(weight.detach()).clamp_min(LEAST_NORM)
                weight.grad *= (most / norm_of_units(weight.grad)).clamp_max(1.0).nan_to_num(1.0)
        inner()


def norm_of_units(values: Tensor) -> Tensor:
    """The norm of each row, or of the whole where there are none, in a shape that scales the values."""
    inside = tuple(range(1, values.dim())) or None
    norms: Tensor = torch.linalg.vector_norm(values, dim=inside, keepdim=True)
    return norms
