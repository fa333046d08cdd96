"""Logit adjustment: the loss sees logits moved by the classes' frequencies.

loss(logits + tau log prior, targets), prior_c = rows of the class / rows. What is common the loss has for nothing, so
the model has rare classes to learn; predictions are of the logits as they are.

Source: Menon et al. 2021, Long-Tail Learning via Logit Adjustment, arXiv 2007.07314 (their adjusted loss; with tau = 1
    consistent for the mean of the classes' error rates).
Cost: one pass.
Use when: classes are imbalanced and each counts alike (macro F1). Avoid when: accuracy is what counts, or probabilities
    must be right: they are those of classes that are equally frequent.
Composes: loss/weighting. With class_weights or balanced_batches the same imbalance is made up for twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recipes import Run, Trick, allowed
from recipes.data.encoding import class_counts
from recipes.toolkit.class_weights import doubts, one_label


@dataclass
class LogitAdjustment(Trick):
    """Add tau times the log of each class's share."""

    tau: float = allowed("[0, inf)")
    """Strength."""

    slots = {"loss": "weighting"}
    neutral = {"tau": 0.0}

    def __post_init__(self) -> None:
        """The classes are not known yet."""
        super().__post_init__()
        self._offsets: Tensor | None = None

    def check(self, run: Run) -> Iterable[str]:
        """Classes that are balanced, or made up for twice."""
        return doubts(run, f"tricks.{self.name}")

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """A class without rows counts as one with one row."""
        if self._offsets is None:
            one_label(run, f"tricks.{self.name}")
            counts = np.maximum(class_counts(run.train), 1)
            self._offsets = self.tau * torch.from_numpy(np.log(counts / counts.sum())).to(logits)
        return inner(logits + self._offsets, targets)
