"""Focal loss: give less weight to rows that the model already predicts correctly.

loss = sum over classes of w_c t_c (1 - p_c)^gamma (-log p_c). It is linear in the targets, so soft targets keep their
meaning. With multiple labels per row it is the mean over classes of w_c t_c (1 - p_c)^gamma (-log p_c) + (1 - t_c)
p_c^gamma (-log(1 - p_c)), where p_c is the sigmoid. w is 1, or as in class_weights, with mean 1 over the training rows.

Source: Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv 1708.02002 (gamma = 2; their alpha, for two
    classes, is w up to its scale). No reliable gain on text was found.
Cost: one pass.
Use when: many rows are easy and a few classes are hard to find. Avoid when: labels are noisy: wrong
    labels get more weight. Or classes are balanced: then it mostly makes probabilities less confident (Mukhoti et al.
    2020, arXiv 2002.09437).
Composes: loss/criterion, alone there; after mixing and smoothing. A scheme excludes other tricks with class weights.
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
    """Replace the cross-entropy."""

    gamma: float = allowed(
        "[0, inf)",
        advised="[0.5, 5]",
        source="Lin et al. 2017, arXiv 1708.02002, tried 0 to 5",
        below="it hardly differs from the plain loss",
        above="rows that are half right count for nothing, so the loss is near 0 before anything is learned",
    )
    """How fast a row's weight falls with the probability of its class."""
    scheme: str = allowed("none | balanced | effective_number | given")
    """How class weights are computed."""
    beta: float = allowed(
        "[0, 1)",
        advised="[0.9, 0.9999]",
        source="Cui et al. 2019, arXiv 1901.05555",
        below="all classes have nearly the same weight",
        above="weights are nearly those of scheme=balanced, and rare rows dominate",
    )
    """With effective_number: 0 gives equal weights, near 1 balanced ones."""
    values: dict[str, float] = allowed("")
    """With given: the weight of each class."""

    slots = {"loss": "criterion"}
    neutral = {"gamma": 0.0, "scheme": "none"}
    remedies = {
        "rare_labels": "+tricks=[{name}] tricks.{name}.scheme=balanced gives rare labels more weight; with "
        "tricks.{name}.gamma=0 it does nothing else"
    }
    replays = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._weights: Tensor

    def prepare(self, run: Run) -> None:
        """Compute the class weights, all 1 without a scheme."""
        if self.scheme == "none":
            self._weights = torch.ones(len(run.classes))
        else:
            self._weights = class_weights(run, self.scheme, self.beta, self.values, f"tricks.{self.name}")

    def excludes(self) -> Mapping[str, str]:
        """Exclude class weights if this trick applies its own."""
        return {} if self.scheme == "none" else {"loss/weighting": "both correct class imbalance"}

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the focal loss; with gamma 0 and no weights it is the plain loss."""
        if not self.gamma and self.scheme == "none":
            return inner(logits, targets)
        # In 16 bits 1 - p of a confident row rounds to 0.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        self._weights = self._weights.to(targets)
        present = targets * self._weights
        if run.multi_label:
            absent = (1 - targets) * self._focus(functional.logsigmoid(-logits))
            return (present * self._focus(functional.logsigmoid(logits)) + absent).mean(-1)
        return (present * self._focus(functional.log_softmax(logits, -1))).sum(-1)

    def _focus(self, log_probability: Tensor) -> Tensor:
        """(1 - p)^gamma (-log p). The clamp avoids an infinite gradient of the power where p rounds to 1."""
        rest = -torch.expm1(log_probability)
        return rest.clamp_min(torch.finfo(rest.dtype).tiny) ** self.gamma * -log_probability
