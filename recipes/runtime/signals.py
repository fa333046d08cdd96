"""Ctrl-C and SIGTERM: noted while an update runs, so that the run can save a checkpoint and stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and has saved a checkpoint.

    It is not an `Exception`, so it also stops a sweep, and a notebook shows it as any interruption.

    Args:
        signal_number: the signal; the exit code is 128 + this number.
        message: how to resume the run.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        # Exceptions are pickled by their arguments: a worker process passes this one on.
        super().__init__(signal_number, message)
        self.signal_number = signal_number
        self.message = message

    def __str__(self) -> str:
        """Return how to resume the run."""
        return self.message


@contextmanager
def interruptions() -> Iterator[Callable[[], int]]:
    """Inside this context Ctrl-C and SIGTERM do not stop the process, they are only noted.

    In another thread than the main one nothing changes, since Python handles signals in the main thread alone.

    Yields:
        A function that returns the number of the last signal, or 0 if none has come.
    """
    received = [0]

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    noted_signals = (signal.SIGINT, signal.SIGTERM) if in_main_thread else ()
    handlers_before = {number: signal.signal(number, note) for number in noted_signals}
    try:
        yield lambda: received[-1]
    finally:
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
