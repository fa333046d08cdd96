"""Freeze layers: the embeddings and the lowest layers keep their pretrained weights, for good or for a while.

Of n frozen layers and the embeddings, the j-th from the top thaws after j / (n + 1) of `until`; with `until` null none
does.

Source: frozen for good: Lee, Tang, Lin 2019, What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning, arXiv
    1911.03090 (a fourth of the layers trained keeps 90 % of the quality); from the top down: Howard, Ruder 2018,
    arXiv 1801.06146 (gradual unfreezing).
Cost: for good: one pass whose way back ends where they begin. For a while: one pass; what is frozen has its gradient
    computed and dropped, so that several processes stay in step.
Use when: rows are few, or memory is. Avoid when: there are thousands of rows unlike what the encoder was trained on.
Composes: model/freeze, innermost: what others add to the model is trained; update/clip, right before the step. Attacks
    still reach word vectors of frozen embeddings.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from recipes import ModelContext, Run, Trick, allowed
from recipes.models.anatomy import depths, layers


@dataclass
class FreezeLayers(Trick):
    """No gradient for them, or none yet."""

    fraction: float = allowed("[0, 1]")
    """Of the layers, from the lowest on, and the embeddings below them."""
    until: float | None = allowed("(0, 1]")
    """Share of all updates after which all have thawed; null: never."""

    slots = {"model": "freeze", "update": "clip"}
    neutral = {"fraction": 0.0}

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """For good: the optimizer then leaves them out."""
        model = inner()
        if self.until is None:
            for weight in self._frozen(model, 0.0):
                weight.requires_grad_(False)
        return model

    def update(self, run: Run, inner: Callable[[], None]) -> None:
        """For a while: a weight without a gradient stays as it is."""
        if self.until is not None:
            for weight in self._frozen(run.bare_model, run.updates / run.total_updates / self.until):
                weight.grad = None
        inner()

    def _frozen(self, model: nn.Module, thawed: float) -> list[nn.Parameter]:
        """What is frozen when a share of the time until all have thawed is over."""
        if not self.fraction or thawed >= 1:
            return []
        total = len(layers(model))
        frozen = round(self.fraction * total) + 1  # with the embeddings, which are the deepest
        frozen -= math.floor(round(thawed * frozen, 6))
        return [weight for weight, depth in depths(model).items() if depth > total + 1 - frozen]
