"""Ctrl-C and SIGTERM are noted, not obeyed at once."""

import os
import pickle
import signal
import threading

import pytest

from recipes.runtime.signals import Interrupted, interruptions


def test_without_a_signal_the_number_is_0() -> None:
    with interruptions() as received:
        assert received() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_does_not_stop_the_process(number: int) -> None:
    with interruptions() as received:
        os.kill(os.getpid(), number)
        assert received() == number


def test_the_last_of_two_signals_counts() -> None:
    with interruptions() as received:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert received() == signal.SIGTERM


def test_the_old_handlers_come_back_even_after_an_exception() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match="inside"), interruptions():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
        raise ValueError("inside")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_leaves_the_handlers_alone() -> None:
    before, numbers = signal.getsignal(signal.SIGINT), list[int]()

    def work() -> None:
        with interruptions() as received:
            assert signal.getsignal(signal.SIGINT) == before
            numbers.append(received())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert numbers == [0]


def test_an_interruption_can_be_pickled_and_is_no_exception() -> None:
    error = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM, "start it again to go on.")))
    assert not isinstance(error, Exception)
    assert (error.signal_number, str(error)) == (signal.SIGTERM, "start it again to go on.")
