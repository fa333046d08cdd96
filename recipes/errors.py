"""What a user did wrong, told in one paragraph and ended with exit code 2; a bug keeps its traceback."""

import difflib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from recipes.interruption import Interrupted


class UserError(Exception):
    """One or more mistakes of the user, all those of one phase together.

    Args:
        problems: a sentence or two each: dotted path, value, what is allowed, what to do.
    """

    def __init__(self, *problems: str) -> None:
        """Keep the problems in the order found, each once."""
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


def nearest(name: str, names: Iterable[str]) -> str:
    """The names closest to a misspelt one and all that there are, as the end of a sentence."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{guess}There are: {', '.join(known) or 'none'}."


def unreadable(path: str, error: OSError) -> UserError:
    """An operating system's refusal, as a user's error."""
    return UserError(f"{path}: {error.strerror or error}.")


@contextmanager
def told_plainly() -> Iterator[None]:
    """End the program with a paragraph instead of a traceback when the user, not the code, is at fault.

    `HYDRA_FULL_ERROR=1` in the environment shows the traceback all the same.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        yield
        return
    # Hydra prints a trace of its own and exits with 1 unless this is set; with it, our exceptions reach us.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    except UserError as error:
        lines = error.problems if len(error.problems) == 1 else [f"- {problem}" for problem in error.problems]
        sys.exit(_say("\n".join(lines), 2))
    except Interrupted as error:
        sys.exit(_say(str(error), 128 + error.signal_number))
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr, flush=True)
    return code
