"""User errors end the program with a message and an exit code; bugs keep their traceback."""

import argparse
import errno
import os
import pickle
import signal
from collections.abc import Callable

import pytest

from recipes.cli import carry_past_hydra, exit_on_user_error, finite_number
from recipes.errors import UserError
from recipes.runtime.signals import Interrupted


def exit_code_and_variable(error: BaseException) -> tuple[object, str | None]:
    """The exit code of a program that raises this error, and the value of `HYDRA_FULL_ERROR` until then."""
    values: list[str | None] = []
    with pytest.raises(SystemExit) as exit_info, exit_on_user_error():
        values.append(os.environ.get("HYDRA_FULL_ERROR"))
        raise error
    return exit_info.value.code, values[0]


def test_one_problem_is_a_sentence_and_more_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_and_variable(UserError("only this"))[0] == 2
    assert capsys.readouterr().err == "only this\n"
    assert exit_code_and_variable(UserError("this", "that"))[0] == 2
    assert capsys.readouterr().err == "- this\n- that\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), exit_on_user_error():
        open("there is no such file")
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_a_disk_error_is_a_user_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_and_variable(OSError(errno.ENOSPC, "No space left on device", "runs/a"))[0] == 2
    assert capsys.readouterr().err.startswith("runs/a: No space left on device. ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_with_the_code_of_the_signal(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_and_variable(Interrupted(number, "run it again"))[0] == 128 + number
    assert capsys.readouterr().err == "run it again\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_training_unwinds_the_stack(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    unwound = []
    # A shell that starts a command in the background makes it ignore SIGINT.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as exit_info, exit_on_user_error():
            try:
                signal.raise_signal(number)
            finally:
                unwound.append(True)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert exit_info.value.code == 128 + number
    assert unwound
    assert capsys.readouterr().err.startswith("Stopped")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_variable_of_hydra_is_set_inside_only() -> None:
    assert exit_code_and_variable(UserError("x"))[1] == "1"
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_the_variable_of_hydra_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError), exit_on_user_error():
        raise UserError("x")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


@pytest.mark.parametrize("error", [UserError("full"), OSError(errno.ENOSPC, "full", "a")])
def test_hydra_does_not_see_the_error_of_a_single_run(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def hydra(job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:
            print("Error executing job")
            raise

    def job() -> None:
        with carry_past_hydra(["a=1"], sweeping=False):
            raise error

    with pytest.raises(SystemExit) as exit_info, exit_on_user_error():
        hydra(job)
    out, err = capsys.readouterr()
    assert (exit_info.value.code, out) == (2, "")
    assert "full" in err


def test_a_sweep_reports_the_failed_run_and_hydra_continues(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError), carry_past_hydra(["a=1", "b=2"], sweeping=True):
        raise UserError("wrong")
    assert capsys.readouterr().err == "The run with a=1 b=2 failed. wrong\n"


def test_a_bug_is_not_carried_past_hydra() -> None:
    for error in (ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "none", "a")):
        with pytest.raises(type(error)), carry_past_hydra([], sweeping=False):
            raise error


def test_an_interruption_survives_pickling() -> None:
    restored = pickle.loads(pickle.dumps(Interrupted(15, "run it again")))
    assert (restored.signal_number, str(restored)) == (15, "run it again")


def test_an_option_that_is_a_number_is_finite() -> None:
    assert finite_number("-0.5") == -0.5
    with pytest.raises(argparse.ArgumentTypeError, match="inf is not a finite number"):
        finite_number("inf")
