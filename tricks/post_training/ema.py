"""EMA: evaluate and save an exponential moving average of the weights.

average <- average + (1 - d) (weights - average) after every update, where d is the decay. With warm-up d is
min(decay, (1 + n) / (10 + n)) after n collections, so that the influence of the first weights fades quickly.

Source: Tarvainen, Valpola 2017, Mean Teachers Are Better Role Models, arXiv 1703.01780 (the average of a student's
    weights). The warm-up and the class come from torch-ema (fadel/pytorch_ema). Its loop over the weights took 59 ms
    for MiniLM on a core, 6 to 12 % of an update; one `lerp` over all weights takes 7 to 15 ms.
Cost: one pass; a copy of the weights, one more during evaluation, and 1 to 2 % of the time of an update.
Use when: the last weights are noisy and the learning rate stays high. Avoid when: the learning rate falls to 0, which
    has a similar effect; or training is a few dozen updates long.
Composes: update/average (collects after the step), weights/final (sets the weights that are evaluated and saved;
    buffers stay those of the model). Excludes other tricks with final weights, and early stopping.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch_ema import ExponentialMovingAverage

from recipes import Run, Trick, allowed


@dataclass
class Ema(Trick):
    """Average the weights after each step; evaluate and save the average."""

    decay: float = allowed(
        "[0, 1)",
        advised="[0.9, 0.9999]",
        source="0.99 to 0.999 in Tarvainen, Valpola 2017, arXiv 1703.01780",
        below="it averages over so few updates that it does nothing",
        above="the average still holds the first weights when training ends",
    )
    """Weight of the old average at each collection."""
    warmup: bool = allowed("")
    """Whether the decay starts at 2 / 11 and rises."""
    every_updates: int = allowed("[0, inf)")
    """Updates between collections; 0: never."""

    slots = {"update": "average", "weights": "final"}
    neutral = {"every_updates": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.average: ExponentialMovingAverage | None = None

    def check(self, run: Run) -> Iterable[str]:
        """Warn about an average that never starts, or stays close to the initial weights."""
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
        """Collect the weights after a step, unless it was skipped; the average starts before the first one."""
        if self.every_updates and self.average is None:
            self.average = self._new_average(run.parameters)
        inner()
        if self.average is not None:
            run.after_step(partial(self._collect, self.average, run.parameters))

    def _new_average(self, parameters: list[Any]) -> ExponentialMovingAverage:
        return ExponentialMovingAverage(parameters, self.decay, self.warmup)

    @torch.no_grad()
    def _collect(self, average: ExponentialMovingAverage, parameters: list[Any], updates: int) -> None:
        """If it is due, do the same as `average.update`, for all weights at once."""
        if updates % self.every_updates:
            return
        decay = average.decay
        if average.num_updates is not None:
            average.num_updates += 1
            decay = min(decay, (1 + average.num_updates) / (10 + average.num_updates))
        torch._foreach_lerp_(average.shadow_params, parameters, 1 - decay)

    def weights(self, run: Run, inner: Callable[[], AbstractContextManager[bool]]) -> AbstractContextManager[bool]:
        """Swap in the average after the first collection; the model's weights are restored from a copy."""
        return (
            inner()
            if self.average is None or run.updates < self.every_updates
            else swap_in(self.average, run.parameters)
        )

    def state(self) -> dict[str, Any]:
        """The average and the number of collections."""
        if self.average is None:
            return {}
        averages = {f"average.{number}": each for number, each in enumerate(self.average.shadow_params)}
        return {"collections": self.average.num_updates, **averages}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the average."""
        if state:
            self.average = self._new_average([state[f"average.{number}"] for number in range(len(state) - 1)])
            self.average.num_updates = state["collections"]


@contextmanager
def swap_in(average: ExponentialMovingAverage, parameters: list[Any]) -> Iterator[bool]:
    """Inside this context the parameters have the values of the average."""
    try:
        with average.average_parameters(parameters):
            yield True
    finally:
        average.collected_params = None  # frees the copy of the weights
