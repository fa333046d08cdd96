"""Balanced batches: draw rows of rare classes more often.

An epoch has as many rows as before; the number from each class is proportional to rows ** (1 - balance). Rows of a
class are repeated equally often, except for a last random part. Every batch has the class mix of the epoch.

Source: class-balanced sampling, as in Kang et al. 2020, Decoupling Representation and Classifier for Long-Tailed
    Recognition, arXiv 1910.09217 (q = 1 - balance there; 0, 0.5 and 1 compared).
Cost: one pass; more padding, since batches go by class first and by length second.
Use when: classes are imbalanced and equally important (macro F1). Avoid when: a class has a handful of rows: they are
    repeated often and memorized (see augmentation); or accuracy matters most.
Composes: batches/batches, alone there. With class_weights or logit_adjustment, which use the original counts, the same
    imbalance is corrected twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from recipes import Run, Trick, allowed
from recipes.data.batching import Batches, group
from recipes.data.encoding import Encoded
from recipes.runtime.randomness import generator
from recipes.toolkit.class_weights import check_imbalance, require_one_label


@dataclass
class BalancedBatches(Trick):
    """Draw an epoch's rows class by class."""

    balance: float = allowed("[0, 1]")
    """From the original class fractions (0) to equal ones (1)."""

    slots = {"batches": "batches"}
    neutral = {"balance": 0.0}
    remedies = {"class_imbalance": "+tricks=[{name}]"}

    def check(self, run: Run) -> Iterable[str]:
        """Warn about balanced classes, or imbalance corrected twice."""
        return check_imbalance(run, f"tricks.{self.name}")

    def batches(self, run: Run, inner: Callable[..., Batches], dataset: Encoded, epoch: int) -> Batches:
        """Draw the rows of the epoch; other tricks do not change the draw."""
        if not self.balance:
            return inner(dataset, epoch)
        require_one_label(run, f"tricks.{self.name}")
        random = generator(run.config.seeds.order, "balanced_batches", epoch)
        rows = self.draw_rows(dataset.labels, random)
        # Group by the rank within the label only, so that each batch has the class mix of the epoch.
        plan = group(dataset.lengths[rows], dataset.labels[rows], run.config.train.batch_size, 1.0, random)
        return Batches(dataset, [rows[indices] for indices in plan], epoch)

    def draw_rows(self, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw the rows of an epoch as indices, as many as there are labels."""
        classes, counts = np.unique(labels, return_counts=True)
        class_sizes = counts ** (1 - self.balance)
        ends = np.round(np.cumsum(class_sizes) / class_sizes.sum() * len(labels)).astype(int)
        quotas = np.diff(ends, prepend=0)
        parts = []
        for label, count, quota in zip(classes, counts, quotas, strict=True):
            rows = random.permutation(np.flatnonzero(labels == label))
            parts.append(np.concatenate([np.tile(rows, quota // count), rows[: quota % count]]))
        return np.concatenate(parts)
