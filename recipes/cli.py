"""End the program with a message, not a traceback, where the user and not the code is at fault."""

import argparse
import io
import math
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from recipes.errors import DISK_ERRORS, InputsChanged, UserError, os_error_reason
from recipes.runtime.signals import Interrupted

USER_ERROR = 2
"""Exit code of a mistake of the user."""


class _CarriedPastHydra(BaseException):
    """Carries a user error out of Hydra, which prints an extra line for each `Exception`, but not for this."""


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Within this context, a user error ends the program with a message instead of a traceback.

    `HYDRA_FULL_ERROR=1` in the environment shows the traceback nevertheless. A character that the terminal does not
    have is printed as its code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        yield
        return
    # Without this variable Hydra prints a trace of its own and exits with 1; with it, exceptions reach us.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Before training installs its own handler, SIGTERM must unwind the stack like Ctrl-C, so that temporary files are
    # removed.
    previous = signal.signal(signal.SIGTERM, _raise_keyboard_interrupt)
    try:
        yield
    except _CarriedPastHydra as carrier:
        sys.exit(_print_error(_message(carrier.__cause__), USER_ERROR))
    except UserError as error:
        sys.exit(_print_error(_message(error), USER_ERROR))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        sys.exit(_print_error(_message(error), USER_ERROR))
    except UnicodeEncodeError as error:
        # A file's name in other letters, where the locale knows ASCII alone and Python's UTF-8 mode is off.
        if error.encoding != sys.getfilesystemencoding():
            raise
        message = f"{error.object}: this locale has no such letters; set LC_ALL=C.UTF-8, or PYTHONUTF8=1."
        sys.exit(_print_error(message, USER_ERROR))
    # By convention a process that a signal ends has the exit code 128 + the signal's number.
    except Interrupted as error:
        sys.exit(_print_error(str(error), 128 + error.signal_number))
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        message = "Stopped. The same command resumes from the last checkpoint, or starts again if there is none."
        sys.exit(_print_error(message, 128 + number))
    finally:
        signal.signal(signal.SIGTERM, previous)
        del os.environ["HYDRA_FULL_ERROR"]


@contextmanager
def carry_past_hydra(overrides: Iterable[str], sweeping: bool) -> Iterator[None]:
    """Within this context, which belongs inside Hydra's main function, a user error passes Hydra without its own line.

    In a sweep the message is printed at once, and the sweep continues; Hydra raises the error again at the end.

    Args:
        overrides: of this run of a sweep.
        sweeping: whether there are other runs.
    """
    try:
        yield
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in DISK_ERRORS:
            raise
        # The runs of a sweep that are finished have read what the others would not.
        if not sweeping or isinstance(error, InputsChanged):
            raise _CarriedPastHydra from error
        _print_error(f"The run with {' '.join(overrides)} failed. {_message(error)}", USER_ERROR)
        raise


@contextmanager
def raise_user_error() -> Iterator[None]:
    """Within this context, for callers in Python, an error that was carried past Hydra is raised as itself."""
    try:
        yield
    except _CarriedPastHydra as carrier:
        raise carrier.__cause__ or carrier from None


def positive_integer(text: str) -> int:
    """Parse a positive integer; for the `type` of an argparse argument."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def finite_number(text: str) -> float:
    """Parse a number that is not NaN or inf; for the `type` of an argparse argument."""
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return number


def _raise_keyboard_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


def _message(error: BaseException | None) -> str:
    """The message of a user error: one sentence, or a list of problems."""
    if isinstance(error, OSError):
        path = error.filename or "the run folder"
        advice = "Free some space or allow access, or choose another folder with hydra.run.dir=<folder>."
        return f"{path}: {os_error_reason(error)}. {advice}"
    problems = error.problems if isinstance(error, UserError) else (str(error),)
    return "\n".join(problems if len(problems) == 1 else [f"- {problem}" for problem in problems])


def _print_error(message: str, code: int) -> int:
    """Print to standard error, and return the exit code."""
    print(message, file=sys.stderr, flush=True)
    return code
