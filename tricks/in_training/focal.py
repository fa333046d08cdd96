"""Focal loss: rows that the model has right already weigh less.

loss = sum over classes of w_c t_c (1 - p_c)^gamma (-log p_c), linear in the targets, so soft ones keep their meaning;
with several labels to a row the mean over classes of w_c t_c (1 - p_c)^gamma (-log p_c) + (1 - t_c) p_c^gamma
(-log(1 - p_c)), p_c the class's sigmoid. w is 1, or as in class_weights, with mean 1 over the training rows.

Source: Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv 1708.02002 (gamma = 2; their alpha, for two
    classes, is w up to its scale). On text no trustworthy gain was found.
Cost: one pass.
Use when: many rows are easy and a few classes are hard to find. Avoid when: labels are noisy: it insists on wrong
    ones; or nothing is imbalanced: mostly its probabilities change, which come out less sure (Mukhoti et al. 2020,
    arXiv 2002.09437).
Composes: loss/criterion, alone there; after mixing and smoothing. A scheme excludes what else weighs classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from recipes import Run, Trick, allowed
from recipes.toolkit.class_weights import class_weights


@dataclass
class Focal(Trick):
    """In place of cross-entropy."""

    gamma: float = allowed("[0, inf)")
    """How fast a row's weight falls with the probability of its class."""
    scheme: str = allowed("none | balanced | effective_number | given")
    """Where class weights come from."""
    beta: float = allowed("[0, 1)")
    """With effective_number: from all alike to nearly balanced."""
    values: dict[str, float] = allowed("")
    """With given: the weight of each class."""

    slots = {"loss": "criterion"}
    neutral = {"gamma": 0.0, "scheme": "none"}
    remedies = {
        "rare_labels": "+tricks=[{name}] tricks.{name}.scheme=balanced weighs rare labels, and with "
        "tricks.{name}.gamma=0 does nothing else"
    }

    def __post_init__(self) -> None:
        """The classes are not known yet."""
        super().__post_init__()
        self._weights: Tensor | None = None

    def excludes(self) -> Mapping[str, str]:
        """Classes are weighed once."""
        return {} if self.scheme == "none" else {"loss/weighting": "both make up for rare classes"}

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """With gamma 0 and no weights it is the plain loss, and that is what computes it."""
        if not self.gamma and self.scheme == "none":
            return inner(logits, targets)
        # In 16 bits 1 - p of a sure row is 0.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        present = targets * self._weights_of(run).to(targets)
        if run.multi_label:
            absent = (1 - targets) * self._focused(functional.logsigmoid(-logits))
            return (present * self._focused(functional.logsigmoid(logits)) + absent).mean(-1)
        return (present * self._focused(functional.log_softmax(logits, -1))).sum(-1)

    def _focused(self, log_probability: Tensor) -> Tensor:
        """(1 - p)^gamma (-log p); where p rounds to 1 the power has no slope, and needs none."""
        rest = -torch.expm1(log_probability)
        return rest.clamp_min(torch.finfo(rest.dtype).tiny) ** self.gamma * -log_probability

    def _weights_of(self, run: Run) -> Tensor:
        if self._weights is None:
            self._weights = torch.ones(len(run.classes))
            if self.scheme != "none":
                self._weights = class_weights(run, self.scheme, self.beta, self.values, f"tricks.{self.name}")
        return self._weights
