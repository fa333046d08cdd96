"""Duplicate: add unchanged copies of every training row, the arm that augmentation must beat.

Each row comes `copies` times more, so that training has as many rows, and updates, as with that many variants of each.

Source: a control, nobody's method. Augmentation also makes training longer, and that alone may be its gain; on
    pretrained transformers Longpre, Wang, DuBois 2020, arXiv 2010.01764, see none that is consistent.
Cost: one pass over `copies` + 1 times the rows an epoch.
Use when: augmentation is to be judged. Avoid when: nothing is compared; train.epochs does the same without the rows.
Composes: examples/add, after what drops or rewrites rows, so that copies are made of the rows that stay.
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
    """Of each row, beside the row itself."""

    slots = {"examples": "add"}
    neutral = {"copies": 0}
    controls = {"more_rows": "copies"}

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Add them behind the rows."""
        if not self.copies:
            return inner(examples)
        return inner(with_variants(examples, self.repeat, run.config.seed, "duplicate", [self.copies]))

    def repeat(self, text: str, draws: Random) -> list[str]:
        """The text, as often as there are copies."""
        return [text] * self.copies
