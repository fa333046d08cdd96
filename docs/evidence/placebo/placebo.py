"""A trick that is chance alone: other orders, other dropout. Whatever an ablation says of it is a mistake."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from recipes import Trick, allowed
from recipes.config import Config
from recipes.data.splits import Splits
from recipes.runs.folder import FinishedRun


@dataclass
class Placebo(Trick):
    """Train with other seeds of order and dropout; several of them, with powers of 2, give no two arms the same."""

    shift: int = allowed("[0, inf)")
    """What is added to both seeds."""

    slots = {"train": "data"}
    neutral = {"shift": 0}

    def train(
        self, run: None, inner: Callable[..., FinishedRun], config: Config, splits: Splits, folder: Path
    ) -> FinishedRun:
        """Train with the shifted seeds."""
        seeds = replace(config.seeds, order=config.seeds.order + self.shift, dropout=config.seeds.dropout + self.shift)
        finished: FinishedRun = inner(replace(config, seeds=seeds), splits, folder)
        return finished
