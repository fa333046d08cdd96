"""Duplicate: add unchanged copies of every training row, the baseline that augmentation must beat.

Each row is added `copies` times, so that training has as many rows and updates as with that many variants of each row.

Source: a control, not a published method. Augmentation also makes training longer, which may explain its gain; on
    pretrained transformers Longpre, Wang, DuBois 2020, arXiv 2010.01764, find no consistent gain.
Cost: one pass over `copies` + 1 times the rows an epoch.
Use when: augmentation is evaluated. Avoid when: nothing is compared; train.epochs has the same effect without the rows.
Composes: examples/add, after tricks that drop or rewrite rows, so that copies are made of the rows that stay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from datasets import Dataset

from recipes import Run, Trick, allowed
from recipes.toolkit.augmentation import with_variants


@dataclass
class Duplicate(Trick):
    """Add copies of every row."""

    copies: int = allowed("[0, inf)")
    """Copies of each row, without the row itself."""

    slots = {"examples": "add"}
    neutral = {"copies": 0}
    controls = {"more_rows": "copies"}

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Add the copies after the rows."""
        if not self.copies:
            return inner(examples)
        return inner(with_variants(examples, self.repeat, run.config.seed, "duplicate", [self.copies]))

    def repeat(self, text: str, draws: Random) -> list[str]:
        """Repeat the text, once for each copy."""
        return [text] * self.copies
