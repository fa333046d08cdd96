"""Generalized cross-entropy: limit what a wrong label can cost, so that the model need not memorize it.

loss = sum over classes of t_c (1 - p_c^q) / q. It is linear in the targets, so soft targets keep their meaning. q = 1
is 1 - p, half the mean absolute error, which wrong labels bias least; towards q = 0 it is the cross-entropy. No row
costs more than 1 / q, and its gradient is that of the cross-entropy times p^q. With multiple labels per row it is the
mean over classes of t_c (1 - p_c^q) / q + (1 - t_c) (1 - (1 - p_c)^q) / q, where p_c is the sigmoid.

Source: Zhang, Sabuncu 2018, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels, arXiv
    1805.07836 (q = 0.7). Their truncated loss, which also drops the rows of the lowest p, is not implemented.
Cost: one pass.
Use when: labels are noisy. With a fifth of 500 labels of eda_trec flipped, which cost MiniLM 0.112 ± 0.200 of
    accuracy, it was 0.063 ± 0.123 higher with this loss (three draws, docs/evidence/label-noise.csv): no effect is
    shown. Clean labels were not measured.
Avoid when: labels are clean: rows that the model finds hard are then the ones to learn from. Or classes are many and
    training is short: an untrained model has p = 1 / C, and a gradient (1 / C)^q times that of the
    cross-entropy: a tenth with 26 classes.
Composes: loss/criterion, alone there; after mixing and smoothing, and on weighted targets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from recipes import Run, Trick, allowed


@dataclass
class Gce(Trick):
    """Replace the cross-entropy."""

    q: float = allowed(
        "[0, 1]",
        advised="[0.3, 0.9]",
        source="0.7 in Zhang, Sabuncu 2018, arXiv 1805.07836",
        below="a wrong label costs nearly as much as in the cross-entropy",
        above="rows that the model does not get right yet hardly pull, and training is slow or fails",
    )
    """0 is the cross-entropy, 1 the mean absolute error."""

    slots = {"loss": "criterion"}
    neutral = {"q": 0.0}
    replays = True

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the generalized cross-entropy; with q 0 it is the plain loss."""
        if not self.q:
            return inner(logits, targets)
        # In 16 bits p of a confident row rounds to 1.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if run.multi_label:
            absent = (1 - targets) * self._cost(functional.logsigmoid(-logits))
            return (targets * self._cost(functional.logsigmoid(logits)) + absent).mean(-1)
        return (targets * self._cost(functional.log_softmax(logits, -1))).sum(-1)

    def _cost(self, log_probability: Tensor) -> Tensor:
        """(1 - p^q) / q, without the loss of digits where p is near 1."""
        return -torch.expm1(self.q * log_probability) / self.q
