"""One run of a study, wherever its launcher runs it: quiet, and with its failure on disk."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from recipes.errors import UserError

OUTPUT = "output.txt"
"""All that the run has to say."""
FAILURE = "failure.txt"
"""Why it failed, in a paragraph; gone once it is tried again."""


class Job:
    """What a launcher is given in place of `train.py`'s own function.

    Args:
        task: that function.
    """

    def __init__(self, task: Callable[[DictConfig], Any]) -> None:
        """Only keep it: this is pickled on its way to a worker."""
        self.task = task

    def __call__(self, composed: DictConfig) -> Any:
        """Run it, with what it prints and why it fails in its folder."""
        with _told_in(Path(HydraConfig.get().runtime.output_dir)):
            return self.task(composed)


@contextmanager
def _told_in(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        # A launcher whose worker died may still be at work on the others, and they are given out again: the second
        # waits for the first, and finds a finished run.
        with suppress(NotImplementedError):  # a file system that has no locks
            stack.enter_context(FileLock(folder / ".job.lock"))
        output = stack.enter_context((folder / OUTPUT).open("w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(output))
        stack.enter_context(redirect_stderr(output))
        stack.push(partial(_write_failure, folder))
        yield


def _write_failure(
    folder: Path, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    """Leave the reason, unless the run was only interrupted."""
    if isinstance(error, Exception):
        traceback.print_exception(kind, error, trace, file=sys.stdout)
        (folder / FAILURE).write_text(reason(error) + "\n", encoding="utf-8")


def reason(error: Exception) -> str:
    """What is said of a failed run: a user's error as it is, of a bug the last line of its traceback."""
    return str(error) if isinstance(error, UserError) else traceback.format_exception_only(error)[-1].strip()
