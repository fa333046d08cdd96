import errno
import os
import pickle
import signal
from collections.abc import Callable

import pytest

from recipes.cli import carry_past_hydra, exit_on_user_error
from recipes.errors import UserError, nearest, unreadable
from recipes.runtime.signals import Interrupted


def ends_with(error: BaseException) -> tuple[object, str | None]:
    """The exit code of a program in which this is raised, and the variable that Hydra heeds meanwhile."""
    seen: list[str | None] = []
    with pytest.raises(SystemExit) as ended, exit_on_user_error():
        seen.append(os.environ.get("HYDRA_FULL_ERROR"))
        raise error
    return ended.value.code, seen[0]


def test_each_problem_is_told_once_and_in_order() -> None:
    error = UserError("b", "a", "b")
    assert error.problems == ("b", "a")
    assert str(error) == "b\na"


def test_nearest_names() -> None:
    assert nearest("mixpu", ["swa", "mixup"]) == "did you mean mixup? There are: mixup, swa."
    assert nearest("zzz", ["swa", "mixup"]) == "there are: mixup, swa."
    assert nearest("zzz", []) == "there are: none."


def test_one_problem_is_a_sentence_and_several_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(UserError("only this"))[0] == 2
    assert capsys.readouterr().err == "only this\n"
    assert ends_with(UserError("this", "that"))[0] == 2
    assert capsys.readouterr().err == "- this\n- that\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), exit_on_user_error():
        open("there is no such file")
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_what_the_disk_refuses_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(OSError(errno.ENOSPC, "No space left on device", "runs/a"))[0] == 2
    assert capsys.readouterr().err.startswith("runs/a: No space left on device. ")
    assert str(unreadable("x", OSError(errno.EACCES, "Permission denied"))) == "x: Permission denied."
    assert str(unreadable("x", OSError("full"))) == "x: full."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_with_the_signal_s_code(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(Interrupted(number, "go on so"))[0] == 128 + number
    assert capsys.readouterr().err == "go on so\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_training_unwinds(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    unwound = []
    # A shell that puts its command into the background has it ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended, exit_on_user_error():
            try:
                signal.raise_signal(number)
            finally:
                unwound.append(True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 128 + number
    assert unwound
    assert capsys.readouterr().err.startswith("Stopped")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_hydra_lets_our_errors_pass_only_inside() -> None:
    assert ends_with(UserError("x"))[1] == "1"
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_a_traceback_is_shown_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
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

    with pytest.raises(SystemExit) as ended, exit_on_user_error():
        hydra(job)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert "full" in err


def test_a_sweep_tells_which_run_failed_and_lets_hydra_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError), carry_past_hydra(["a=1", "b=2"], sweeping=True):
        raise UserError("wrong")
    assert capsys.readouterr().err == "The run with a=1 b=2 has failed. wrong\n"


def test_a_bug_is_not_carried_past_hydra() -> None:
    for error in (ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "none", "a")):
        with pytest.raises(type(error)), carry_past_hydra([], sweeping=False):
            raise error


def test_an_interruption_comes_out_of_a_worker_as_it_was() -> None:
    came = pickle.loads(pickle.dumps(Interrupted(15, "go on so")))
    assert (came.signal_number, str(came)) == (15, "go on so")
