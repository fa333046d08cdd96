"""SWA: average the weights of the last phase of training, at a high learning rate.

average <- average + (weights - average) / (n + 1) at each collection, from `start` on. The learning rate of this phase
is constant at `rate_factor` times the base rate, or falls from the base rate to it in every cycle. With cycles, weights
are collected at the end of each cycle. The last update is always collected, so that the end of training is part of the
average also where it cuts a cycle short.

Source: Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization, arXiv 1803.05407.
    There the learning rate of SGD is 0.05 to 0.1; here it is a factor of the base rate, since the optimizer is AdamW.
Cost: one pass; a copy of the weights, and about 1 % of the time of an update for each collection.
Use when: training ends in a flat region of the loss. Avoid when: training is a few dozen updates long. There is little
    evidence for pretrained text encoders (huggingface/transformers#9439 saw no gain).
Composes: schedule (the last phase), update/average (collects after the step), weights/final (sets the weights that are
    evaluated and saved). Excludes other tricks with final weights, and early stopping, which may end training before
    `start`.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recipes import Run, Trick, allowed
from recipes.models.anatomy import with_weights
from recipes.runs.checkpoint import inside


@dataclass
class Swa(Trick):
    """Average the weights of the last phase; evaluate and save the average."""

    start: float = allowed(
        "[0, 1]",
        advised="[0.5, 0.9]",
        source="0.75 in Izmailov et al. 2018, arXiv 1803.05407",
        below="weights that are hardly trained are averaged in",
        above="few updates are left to average",
    )
    """Fraction of all updates after which weights are collected."""
    rate_factor: float = allowed(
        "(0, 1]",
        advised="[0.1, 1]",
        source="0.5 to 1 in Izmailov et al. 2018, arXiv 1803.05407",
        below="weights hardly differ, so their average does nothing",
    )
    """Learning rate of the last phase, as a factor of the base rate."""
    cycle: float = allowed("[0, 1]")
    """Length of a cycle, as a fraction of all updates; 0: a constant rate."""
    every_updates: int = allowed("[1, inf)")
    """Updates between collections, at a constant rate."""

    slots = {"schedule": "schedule", "update": "average", "weights": "final"}
    neutral = {"start": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.average: dict[str, Tensor] = {}
        self.collections = 0

    def check(self, run: Run) -> Iterable[str]:
        """Warn about an average of fewer than three collections."""
        total = run.total_updates
        collects = (self._collects(updates, total, updates == total) for updates in range(1, total + 1))
        count = sum(collects) if self.start < 1 else 0
        if self.start < 1 and count < 3:
            yield (
                f"tricks.{self.name}.start={self.start:g} of {total} updates leaves {count} to average; "
                f"tricks.{self.name}.start=0.75, tricks.{self.name}.every_updates=1, or more updates."
            )

    def schedule(self, run: Run, inner: Callable[[float], float], progress: float) -> float:
        """The default schedule until `start`, then a constant or cyclic rate."""
        done, total = progress * run.total_updates, run.total_updates
        if done < self._first(total):
            return inner(progress)
        if not self.cycle:
            return self.rate_factor
        within = (done - self._first(total)) / self._between(total) % 1.0
        return 1.0 - (1.0 - self.rate_factor) * within

    def update(self, run: Run, inner: Callable[[], None]) -> None:
        """Collect the weights after a step, unless it was skipped."""
        inner()
        at_end = run.batches_done + 1 == run.total_updates
        run.after_step(partial(self._collect, run.bare_model, run.total_updates, at_end))

    def _first(self, total: int) -> int:
        """The number of updates before the last phase."""
        return int(round(self.start * total, 6))

    def _between(self, total: int) -> int:
        """The number of updates between two collections."""
        return max(1, round(self.cycle * total)) if self.cycle else self.every_updates

    def _collects(self, updates: int, total: int, at_end: bool) -> bool:
        within = updates - self._first(total)
        # The last cycle may be cut short by the end of training; what it learned counts too.
        return within > 0 and (within % self._between(total) == 0 or at_end)

    def _collect(self, model: nn.Module, total: int, at_end: bool, updates: int) -> None:
        if not self._collects(updates, total, at_end):
            return
        current = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        if not self.collections:
            self.average = {name: tensor.clone() for name, tensor in current.items()}
        else:
            moving = [name for name in current if current[name].is_floating_point()]
            averages, weights = [self.average[name] for name in moving], [current[name] for name in moving]
            torch._foreach_lerp_(averages, weights, 1 / (self.collections + 1))
            # Integer tensors, such as counters, have no mean: the last value is used.
            self.average |= {name: current[name].clone() for name in current if name not in moving}
        self.collections += 1

    def weights(self, run: Run, inner: Callable[[], AbstractContextManager[bool]]) -> AbstractContextManager[bool]:
        """Swap in the average if there is one; the model's weights are restored from a copy."""
        return with_weights(run.bare_model, self.average) if self.collections else inner()

    def state(self) -> dict[str, Any]:
        """The average and the number of collections."""
        return {"collected": self.collections, **{f"average.{name}": tensor for name, tensor in self.average.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the average."""
        self.collections = state["collected"]
        self.average = inside(state, "average.")
