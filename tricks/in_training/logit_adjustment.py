"""Logit adjustment: add the log of class frequencies to the logits in the loss.

loss(logits + tau log prior, targets), prior_c = rows of the class / rows. The prior already favors frequent classes in
the loss, so the model learns to separate rare ones. Predictions use the logits without the prior.

Source: Menon et al. 2021, Long-Tail Learning via Logit Adjustment, arXiv 2007.07314 (their adjusted loss; with tau = 1
    consistent for the mean of the per-class error rates).
Cost: one pass.
Use when: classes are imbalanced and equally important (macro F1). Avoid when: accuracy matters most, or probabilities
    must be calibrated: they assume that all classes are equally frequent.
Composes: loss/weighting. With class_weights or balanced_batches the same imbalance is corrected twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recipes import Run, Trick, allowed
from recipes.data.encoding import class_counts
from recipes.toolkit.class_weights import check_imbalance, require_one_label


@dataclass
class LogitAdjustment(Trick):
    """Add tau times the log of each class's frequency."""

    tau: float = allowed(
        "[0, inf)",
        advised="[0.5, 2]",
        source="1 in Menon et al. 2021, arXiv 2007.07314",
        below="rare classes hardly gain",
        above="the class frequencies outweigh the text, and rare classes are answered everywhere",
    )
    """Strength."""

    slots = {"loss": "weighting"}
    neutral = {"tau": 0.0}
    remedies = {"class_imbalance": "+tricks=[{name}]"}
    replays = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._offsets: Tensor

    def prepare(self, run: Run) -> None:
        """Compute the offsets; a class without rows is treated as if it had one."""
        require_one_label(run, f"tricks.{self.name}")
        counts = np.maximum(class_counts(run.train), 1)
        self._offsets = self.tau * torch.from_numpy(np.log(counts / counts.sum()))

    def check(self, run: Run) -> Iterable[str]:
        """Warn about balanced classes, or imbalance corrected twice."""
        return check_imbalance(run, f"tricks.{self.name}")

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """Add the offsets."""
        self._offsets = self._offsets.to(logits)
        return inner(logits + self._offsets, targets)
