"""EMA: evaluate and save an exponential moving average of the weights.

average <- average + (1 - d) (weights - average) after every update, d the decay; while it warms up d is
min(decay, (1 + n) / (10 + n)) after n collections, so that the first weights are soon forgotten.

Source: Tarvainen, Valpola 2017, Mean Teachers Are Better Role Models, arXiv 1703.01780 (the average of a student's
    weights); the warm-up and the class are torch-ema's (fadel/pytorch_ema). Its loop over the weights took 59 ms for
    MiniLM on a core, 6 to 12 % of an update; one `lerp` over all of them takes 7 to 15.
Cost: one pass; a copy of the weights, one more while evaluating, and one or two hundredths of an update.
Use when: the last weights are noisy and the rate stays high. Avoid when: the rate falls to 0: that is an average
    already; or training is a few dozen updates long.
Composes: update/average (collects after the step), weights/final (owns what is evaluated and saved; buffers are the
    model's own). Excludes other owners of the final weights, and early stopping of a model that nobody looks at.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch_ema import ExponentialMovingAverage

from recipes import Run, Trick, allowed


@dataclass
class Ema(Trick):
    """Collect after the step, evaluate and save the average."""

    decay: float = allowed("[0, 1)")
    """Share of the average that stays at a collection."""
    warmup: bool = allowed("")
    """Whether the decay begins at 2 / 11 and rises."""
    every_updates: int = allowed("[0, inf)")
    """Updates between collections; 0: never."""

    slots = {"update": "average", "weights": "final"}
    neutral = {"every_updates": 0}

    def __post_init__(self) -> None:
        """No weights are seen yet."""
        super().__post_init__()
        self.average: ExponentialMovingAverage | None = None

    def check(self, run: Run) -> Iterable[str]:
        """An average that never begins, or never leaves the untrained weights."""
        collections = run.total_updates // self.every_updates if self.every_updates else 0
        if self.every_updates > run.total_updates:
            yield (
                f"tricks.{self.name}.every_updates={self.every_updates} is more than the {run.total_updates} updates "
                f"of this run, so nothing is averaged; tricks.{self.name}.every_updates=1."
            )
        elif collections and not self.warmup and self.decay**collections > 0.3:
            yield (
                f"tricks.{self.name}.decay={self.decay:g} over {collections} collections leaves "
                f"{self.decay**collections:.0%} of the average to the untrained weights; "
                f"tricks.{self.name}.warmup=true, or a lower decay."
            )

    def update(self, run: Run, inner: Callable[[], None]) -> None:
        """Collect what the step left, if there was a step; the average begins at the weights before the first."""
        if self.every_updates and self.average is None:
            self.average = self._new_average(run.parameters)
        before = run.updates
        inner()
        if self.average is not None and run.updates > before and run.updates % self.every_updates == 0:
            self._collect(self.average, run.parameters)

    def _new_average(self, parameters: list[Any]) -> ExponentialMovingAverage:
        return ExponentialMovingAverage(parameters, self.decay, self.warmup)

    @torch.no_grad()
    def _collect(self, average: ExponentialMovingAverage, parameters: list[Any]) -> None:
        """What `average.update` does, for all weights at once."""
        decay = average.decay
        if average.num_updates is not None:
            average.num_updates += 1
            decay = min(decay, (1 + average.num_updates) / (10 + average.num_updates))
        torch._foreach_lerp_(average.shadow_params, parameters, 1 - decay)

    def weights(self, run: Run, inner: Callable[[], AbstractContextManager[bool]]) -> AbstractContextManager[bool]:
        """The average, once anything is collected; the model's own weights come back by copy."""
        return (
            inner()
            if self.average is None or run.updates < self.every_updates
            else swap_in(self.average, run.parameters)
        )

    def state(self) -> dict[str, Any]:
        """The average and how many collections are in it."""
        if self.average is None:
            return {}
        averages = {f"average.{number}": each for number, each in enumerate(self.average.shadow_params)}
        return {"collections": self.average.num_updates, **averages}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        if state:
            self.average = self._new_average([state[f"average.{number}"] for number in range(len(state) - 1)])
            self.average.num_updates = state["collections"]


@contextmanager
def swap_in(average: ExponentialMovingAverage, parameters: list[Any]) -> Iterator[bool]:
    """Inside this context the parameters are the average."""
    try:
        with average.average_parameters(parameters):
            yield True
    finally:
        average.collected_params = None  # which held a copy of the weights
