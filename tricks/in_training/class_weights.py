"""Class weights: give rows of rare classes more weight in the loss.

loss = sum over classes of w_c t_c (-log p_c), with w scaled once to a mean of 1 over the training rows, so that the
learning rate keeps its meaning.

Source: `balanced`: King, Zeng 2001, Logistic Regression in Rare Events Data; `effective_number`: Cui et al. 2019,
    Class-Balanced Loss Based on Effective Number of Samples, arXiv 1901.05555.
Cost: one pass.
Use when: classes are imbalanced and equally important (macro F1). Avoid when: accuracy matters most, or probabilities
    must be calibrated: they shift towards rare classes.
Composes: loss/weighting, on the targets after mixing and smoothing. With logit_adjustment or balanced_batches the same
    imbalance is corrected twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from recipes import Run, Trick, allowed
from recipes.toolkit.class_weights import check_imbalance, class_weights, require_one_label


@dataclass
class ClassWeights(Trick):
    """Scale the columns of the targets."""

    scheme: str = allowed("balanced | effective_number | given")
    """How weights are computed."""
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

    slots = {"loss": "weighting"}
    neutral = {"scheme": "effective_number", "beta": 0.0}
    remedies = {"class_imbalance": "+tricks=[{name}] tricks.{name}.scheme=balanced"}
    replays = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._weights: Tensor

    def prepare(self, run: Run) -> None:
        """Compute the weights."""
        require_one_label(run, f"tricks.{self.name}")
        self._weights = class_weights(run, self.scheme, self.beta, self.values, f"tricks.{self.name}")

    def check(self, run: Run) -> Iterable[str]:
        """Warn about balanced classes, or imbalance corrected twice."""
        return check_imbalance(run, f"tricks.{self.name}")

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """Multiply the targets by the class weights."""
        self._weights = self._weights.to(targets)
        return inner(logits, targets * self._weights)
