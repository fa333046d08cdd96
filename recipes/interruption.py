"""Ctrl-C and SIGTERM: remembered while an update runs, then answered with a checkpoint."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The run was asked to stop and has left a checkpoint; no `Exception`, so a sweep stops with it.

    Args:
        signal_number: the signal; the exit code is 128 + this.
        message: how to go on.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        """Remember the signal for the exit code."""
        self.signal_number = signal_number
        super().__init__(message)


@contextmanager
def interruptions() -> Iterator[Callable[[], int]]:
    """Inside this context the signals only leave a mark; gives a function that answers with it, 0 if none came."""
    received = [0]

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[-1]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
