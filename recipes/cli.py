"""End the program with a sentence where the user, not the code, is at fault."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from recipes.errors import NOT_OUR_FAULT, UserError, _reason
from recipes.runtime.signals import Interrupted


class _CarriedPastHydra(BaseException):
    """Carries a user's error out of Hydra, which would print a line of its own about an `Exception`."""


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the program with a paragraph instead of a traceback when the user, not the code, is at fault.

    `HYDRA_FULL_ERROR=1` in the environment shows the traceback all the same.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        yield
        return
    # Hydra prints a trace of its own and exits with 1 unless this is set; with it, our exceptions reach us.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Until training answers signals with a checkpoint, SIGTERM is to unwind as Ctrl-C does, so that drafts are removed.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except _CarriedPastHydra as carried:
        sys.exit(_say(_paragraph(carried.__cause__), 2))
    except UserError as error:
        sys.exit(_say(_paragraph(error), 2))
    except OSError as error:
        if error.errno not in NOT_OUR_FAULT:
            raise
        sys.exit(_say(_paragraph(error), 2))
    except Interrupted as error:
        sys.exit(_say(str(error), 128 + error.signal_number))
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        sys.exit(_say("Stopped; the same command goes on from the last checkpoint, or starts again.", 128 + number))
    finally:
        signal.signal(signal.SIGTERM, before)
        del os.environ["HYDRA_FULL_ERROR"]


@contextmanager
def carry_past_hydra(overrides: Iterable[str], sweeping: bool) -> Iterator[None]:
    """Around what Hydra runs: a user's error leaves it without Hydra's own line.

    In a sweep it is told at once, and again at the end; the sweep goes on.

    Args:
        overrides: of this run of a sweep.
        sweeping: whether there are other runs.
    """
    try:
        yield
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NOT_OUR_FAULT:
            raise
        if not sweeping:
            raise _CarriedPastHydra from error
        _say(f"The run with {' '.join(overrides)} has failed. {_paragraph(error)}", 2)
        raise


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


def _paragraph(error: BaseException | None) -> str:
    if isinstance(error, OSError):
        place = error.filename or "the run folder"
        return f"{place}: {_reason(error)}. Make room or allow it, or choose another place with hydra.run.dir=<folder>."
    problems = error.problems if isinstance(error, UserError) else (str(error),)
    return "\n".join(problems if len(problems) == 1 else [f"- {problem}" for problem in problems])


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr, flush=True)
    return code
