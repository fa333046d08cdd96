"""Multi-sample dropout: read each row once, and train the head on many dropout masks of its vector.

loss = (l_1 + ... + l_m) / m per row, where l_1 is the loss of the pass as it is, and each further one is that of the
same vector under another mask of the dropout in front of the head. All samples share the encoder and the head.
Predicting is unchanged, since nothing is dropped there.

Source: Inoue 2019, Multi-Sample Dropout for Accelerated Training and Better Generalization, arXiv 1905.09788 (for
    images; 8 samples; losses are averaged, as here). There is no official code. Code that is often copied for text has
    5 samples at a rate of 0.5 and averages their logits first, which is another loss.
Cost: one pass; the head runs once for each sample.
Use when: training is short, or results vary from seed to seed. Avoid when: the model has no dropout in front of its
    head and `rate` is null: all samples then agree. It is not shown to help here: with MiniLM on 500 rows
    of TREC and 300 updates the accuracy moved by +0.0013 ± 0.0274 (three seeds; docs/evidence/regularization.md).
Composes: objective/term, to see each pass; loss/sample, outside what changes targets, weighs or measures. With mixup
    level=sentence each sample runs the partners again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recipes import Batch, Outcome, Run, Trick, allowed
from recipes.models.anatomy import undropped_vectors
from recipes.toolkit.requirements import require_pooled_head


@dataclass
class MultiSampleDropout(Trick):
    """Average the loss over dropout masks of the head's input."""

    samples: int = allowed(
        "[1, inf)",
        advised="[2, 16]",
        source="8 in Inoue 2019, arXiv 1905.09788",
        below="it is the plain loss",
        above="more masks change the mean hardly at all",
    )
    """Dropout masks, that of the pass itself included."""
    rate: float | None = allowed(
        "[0, 1)",
        advised="[0.1, 0.5]",
        below="the samples are nearly equal",
        above="a sample sees too little of the text",
    )
    """Of the further samples; null: that of the dropout in front of the head."""

    slots = {"objective": "term", "loss": "sample"}
    neutral = {"samples": 1}
    replays = True

    def __post_init__(self) -> None:
        super().__post_init__()
        # An entry for each call of the head in the pass that runs: its input before dropout, and the dropout rate.
        # It is on self because the loss gets logits and targets only.
        self._vectors: list[tuple[Tensor, float]] = []

    def prepare(self, run: Run) -> None:
        """Refuse a model without one vector of a text."""
        if self.samples > 1:
            require_pooled_head(run.bare_model, f"tricks.{self.name}")

    def check(self, run: Run) -> Iterable[str]:
        """Warn if the model has no dropout and the trick brings none."""
        if self.samples < 2 or self.rate:
            return
        batch = run.train.collate(np.arange(1), 0, 0).to(run.accelerator.device)
        with undropped_vectors(run.bare_model, run.head) as vectors, torch.no_grad():
            run.bare_model(**batch.inputs)
        if not vectors[0][1]:
            yield (
                f"tricks.{self.name}: the model has no dropout in front of its head, so all samples agree; "
                f"tricks.{self.name}.rate=0.3."
            )

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Collect the input of the head before its dropout, for the loss inside."""
        with undropped_vectors(run.bare_model, run.head) as self._vectors:
            try:
                return inner(batch)
            finally:
                self._vectors = []

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """Average over the samples; outside of a pass there is only the one."""
        losses = [inner(logits, targets)]
        if self._vectors:
            vectors, own_rate = self._vectors[0]
            rate = own_rate if self.rate is None else self.rate
            for _ in range(self.samples - 1):
                with run.accelerator.autocast():
                    sample = run.head(functional.dropout(vectors, rate, run.head.training))
                losses.append(inner(sample.to(logits.dtype), targets))
        return torch.stack(losses).mean(0)
