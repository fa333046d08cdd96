"""Ctrl-C and SIGTERM: remembered while an update runs, then answered with a checkpoint."""

import signal
import threading
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
        super().__init__(signal_number, message)  # all of it, so that it can be pickled: a worker hands it on
        self.signal_number = signal_number
        self.message = message

    def __str__(self) -> str:
        """How to go on."""
        return self.message


@contextmanager
def interruptions() -> Iterator[Callable[[], int]]:
    """Inside this context the signals only leave a mark; gives a function that answers with it, 0 if none came.

    Python gives signals to the main thread alone; in another one they are left as they are.
    """
    received = [0]

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    answered = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, remember) for number in answered}
    try:
        yield lambda: received[-1]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
