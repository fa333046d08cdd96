"""Freeze layers: keep the pretrained weights of the embeddings and the lowest layers, for all or part of training.

Of n frozen layers and the embeddings, the j-th from the top is unfrozen after j / (n + 1) of `until`. With `until` null
they stay frozen.

Source: frozen throughout: Lee, Tang, Lin 2019, What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning,
    arXiv 1911.03090 (a fourth of the layers trained keeps 90 % of the quality); from the top down: Howard, Ruder 2018,
    arXiv 1801.06146 (gradual unfreezing).
Cost: one pass. With `until` null the backward pass stops at the frozen layers. Otherwise gradients of frozen layers are
    computed and dropped, so that several processes stay in step.
Use when: rows are few, or memory is short. Avoid when: thousands of rows differ from the encoder's training data.
Composes: model/freeze, innermost: modules that other tricks add are trained; update/clip, right before the step.
    Attacks still reach the word vectors of frozen embeddings.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from recipes import ModelContext, Run, Trick, allowed
from recipes.models.anatomy import depths
from recipes.toolkit.requirements import require_layers


@dataclass
class FreezeLayers(Trick):
    """Train without the lowest layers, or unfreeze them later."""

    fraction: float = allowed(
        "[0, 1]",
        advised="[0, 0.75]",
        source="Lee, Tang, Lin 2019, arXiv 1911.03090",
        above="the head is trained on features that cannot adapt to the task",
    )
    """Of the layers, from the lowest up, with the embeddings below them."""
    until: float | None = allowed("(0, 1]")
    """Fraction of all updates after which no layer is frozen; null: never."""

    slots = {"model": "freeze", "update": "clip"}
    neutral = {"fraction": 0.0}
    replays = True

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """Freeze for all of training; the optimizer then leaves these weights out."""
        model = inner()
        if self.until is None:
            for weight in self._find_frozen(model, 0.0):
                weight.requires_grad_(False)
        return model

    def update(self, run: Run, inner: Callable[[], None]) -> None:
        """Freeze for part of training: a weight without a gradient does not change."""
        if self.until is not None:
            for weight in self._find_frozen(run.bare_model, run.updates / run.total_updates / self.until):
                weight.grad = None
        inner()

    def _find_frozen(self, model: nn.Module, progress: float) -> list[nn.Parameter]:
        """The frozen weights at a progress from 0 to 1, where 1 means that all are unfrozen."""
        if not self.fraction or progress >= 1:
            return []
        total = len(require_layers(model, f"tricks.{self.name}"))
        frozen = round(self.fraction * total) + 1  # with the embeddings, which have the greatest depth
        frozen -= math.floor(round(progress * frozen, 6))
        return [weight for weight, depth in depths(model).items() if depth > total + 1 - frozen]
