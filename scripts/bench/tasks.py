"""The training that every contestant does: the same weights, rows and settings."""

import argparse
import copy
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_linear_schedule_with_warmup

from recipes.config import Config
from recipes.data.splits import Splits, read_splits
from recipes.loop import TrainingRun
from scripts.bench.config import make_config
from scripts.bench.texts import find_training_file, make_rows
from scripts.bench.timed_run import TimedRun

# Every text of the tiny task has this many tokens: nobody pads, and nobody can gain by not padding.
TOKENS, TINY_ROWS = 32, 1280


@dataclass(frozen=True)
class Task:
    """One training, for every contestant."""

    config: Config
    splits: Splits
    folder: Path
    """Where runs may write."""

    @cached_property
    def untrained_run(self) -> TrainingRun:
        """A run that is set up and never trained. Every contestant starts from its rows and weights."""
        return TrainingRun(self.config, {}, self.splits, self._make_folder())

    def train_ours(self) -> float:
        """Train with the real loop.

        Returns:
            The seconds of all updates.
        """
        return TimedRun(self.config, {}, self.splits, self._make_folder()).fit_quietly()

    def copy_model(self) -> nn.Module:
        """A copy of the first weights."""
        return copy.deepcopy(self.untrained_run.bare_model).train()

    def make_optimizer(self, model: nn.Module) -> tuple[Optimizer, LRScheduler]:
        """Fused AdamW without decay on biases and norms, and a linear schedule with warm-up."""
        train, updates = self.config.train, self.untrained_run.total_updates
        groups = [
            {"params": [each for each in model.parameters() if each.dim() > 1], "weight_decay": train.weight_decay},
            {"params": [each for each in model.parameters() if each.dim() <= 1], "weight_decay": 0.0},
        ]
        optimizer = AdamW(groups, lr=train.learning_rate, fused=True)
        return optimizer, get_linear_schedule_with_warmup(optimizer, int(train.warmup * updates), updates)

    def _make_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


def make_tiny_task(updates: int, threads: int | None, folder: Path) -> Task:
    """Texts of one length for a random model of 2 layers and width 32."""
    rows = make_rows(TINY_ROWS, TOKENS - 2)  # [CLS] and [SEP] are the other two
    config = make_config(["model=tiny", f"train.max_updates={updates}"], threads)
    return Task(config, Splits(rows, rows.select(range(2)), None, ["0", "1"], multi_label=False), folder)


def make_text_task(data: Path, arguments: argparse.Namespace, folder: Path) -> Task:
    """One epoch of MiniLM on the first rows of a data set."""
    overrides = [
        "data=files",
        "model=minilm",
        "train.epochs=1",
        f"data.max_length={arguments.max_length}",
        f"train.batch_size={arguments.batch_size}",
    ]
    config = make_config(overrides, arguments.threads, find_training_file(data))
    splits = read_splits(config.data, {}, test=False)
    count = min(arguments.rows or len(splits.train), len(splits.train))
    train = splits.train.select(range(count))
    return Task(config, replace(splits, train=train, validation=train.select([0]), notes=[]), folder)
