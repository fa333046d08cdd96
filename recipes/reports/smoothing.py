"""One smoothing of the training loss for all that shows it: terminal, trackers, learning curve."""

import math
from collections.abc import Iterable

SMOOTHING = 0.98
"""Weight of the past at each update; about the last 50 updates count."""


class SmoothedLoss:
    """Exponential moving average of a loss with bias correction: it does not start from 0.

    The factor is fixed, so the value at an update does not depend on how many follow.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0

    def add(self, loss: float | None) -> None:
        """Add the loss of one more update; None, NaN and inf are skipped."""
        if loss is not None and math.isfinite(loss):
            self._sum = SMOOTHING * self._sum + (1 - SMOOTHING) * loss
            self._weight = SMOOTHING * self._weight + (1 - SMOOTHING)

    @property
    def value(self) -> float | None:
        """The average so far; None before the first finite loss."""
        return self._sum / self._weight if self._weight else None


def smooth(losses: Iterable[float]) -> list[float]:
    """The smoothed loss after each of these finite losses."""
    average, values = SmoothedLoss(), []
    for loss in losses:
        average.add(loss)
        if average.value is not None:
            values.append(average.value)
    return values
