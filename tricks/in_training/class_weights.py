"""Class weights: rows of rare classes weigh more in the loss.

loss = sum over classes of w_c t_c (-log p_c), w scaled once so that its mean over the training rows is 1: the learning
rate means what it meant before.

Source: `balanced`: King, Zeng 2001, Logistic Regression in Rare Events Data; `effective_number`: Cui et al. 2019,
    Class-Balanced Loss Based on Effective Number of Samples, arXiv 1901.05555.
Cost: one pass.
Use when: classes are imbalanced and each counts alike (macro F1). Avoid when: accuracy is what counts, or probabilities
    must be right: they move towards rare classes.
Composes: loss/weighting, on targets that mixing and smoothing have left. With logit_adjustment or balanced_batches the
    same imbalance is made up for twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from recipes import Run, Trick, allowed
from recipes.toolkit.class_weights import class_weights, doubts, one_label


@dataclass
class ClassWeights(Trick):
    """Scale the columns of the targets."""

    scheme: str = allowed("balanced | effective_number | given")
    """Where the weights come from."""
    beta: float = allowed("[0, 1)")
    """With effective_number: from all alike to nearly balanced."""
    values: dict[str, float] = allowed("")
    """With given: the weight of each class."""

    slots = {"loss": "weighting"}
    neutral = {"scheme": "effective_number", "beta": 0.0}
    remedies = {"class_imbalance": "+tricks=[{name}] tricks.{name}.scheme=balanced"}

    def __post_init__(self) -> None:
        """The classes are not known yet."""
        super().__post_init__()
        self._weights: Tensor | None = None

    def check(self, run: Run) -> Iterable[str]:
        """Classes that are balanced, or made up for twice."""
        return doubts(run, f"tricks.{self.name}")

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """The targets inward are weighed; what comes back is not touched."""
        if self._weights is None:
            one_label(run, f"tricks.{self.name}")
            self._weights = class_weights(run, self.scheme, self.beta, self.values, f"tricks.{self.name}").to(targets)
        return inner(logits, targets * self._weights)
