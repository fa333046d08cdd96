"""The count of optimizer steps, without waiting for a GPU.

A step whose gradient is not finite is skipped on the device. The host goes on, and reads later whether it was made.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from recipes.runtime.transfer import ReadBack

Answer = TypeVar("Answer")


class StepCount:
    """Counts the optimizer steps that were made, and calls what follows them.

    Args:
        waits: whether the outcome of each step is known at once. If not, whoever asks for the count waits for the last
            step.
    """

    def __init__(self, waits: bool = True) -> None:
        self.waits = waits
        self.restart(0)

    def restart(self, count: int) -> None:
        """Begin after this number of steps; what waits for an earlier step is dropped."""
        self._before, self._last = count, ReadBack(torch.tensor(False))
        self._actions: list[Callable[[int], None]] = []

    @property
    def last_succeeded(self) -> bool:
        """Whether the last step was made, and not skipped."""
        return self._last.read() > 0

    @property
    def count(self) -> int:
        """Steps that were made so far."""
        return self._before + self.last_succeeded

    def add(self, success: Tensor) -> None:
        """Add a step.

        Args:
            success: whether it was made, one number on any device.
        """
        self._before, self._last = self.count, ReadBack(success)

    def ask(self, answer: Callable[[int], Answer]) -> Answer:
        """Return `answer(count)`, and wait for the last step only if it makes a difference."""
        if_skipped = answer(self._before)
        return if_skipped if if_skipped == answer(self._before + 1) else answer(self.count)

    def follow(self, action: Callable[[int], None]) -> None:
        """Call a function with the count if the last step was made: now, or when `settle` is called."""
        self._actions.append(action)
        if self.waits:
            self.settle()

    def settle(self) -> None:
        """Call what follows the last step."""
        actions, self._actions = self._actions, []
        if actions and self.last_succeeded:
            for action in actions:
                action(self.count)
