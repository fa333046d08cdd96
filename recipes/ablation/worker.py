"""One run of a study in its worker: its output goes to a file, and so does the reason if it fails."""

import os
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
from recipes.runtime.watchdog import end_with

OUTPUT = "output.txt"
"""Everything that the run prints."""
FAILURE = "failure.txt"
"""Why it failed, in a paragraph; deleted when the run is tried again."""


class Job:
    """The function that the launcher runs in place of that of `train.py`; it must be picklable.

    Args:
        task: the function of `train.py`.
    """

    def __init__(self, task: Callable[[DictConfig], Any]) -> None:
        self.task, self.study = task, os.getpid()

    def __call__(self, composed: DictConfig) -> Any:
        """Run the task; what it prints and why it fails go to files in its folder.

        If the process of the study is killed, the worker ends too.
        """
        end_with(self.study)
        with _capture_output(Path(HydraConfig.get().runtime.output_dir)):
            return self.task(composed)


@contextmanager
def _capture_output(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        # If one worker of a launcher died, its other workers may still be running while their runs are launched again.
        # The second run waits for the first, and then sees that it is finished.
        with suppress(NotImplementedError):  # a file system without locks
            stack.enter_context(FileLock(folder / ".job.lock"))
        output = stack.enter_context((folder / OUTPUT).open("w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(output))
        stack.enter_context(redirect_stderr(output))
        stack.push(partial(_write_failure, folder))
        yield


def _write_failure(
    folder: Path, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    """Write the reason of a failure, but not of an interruption."""
    if isinstance(error, Exception):
        traceback.print_exception(kind, error, trace, file=sys.stdout)
        (folder / FAILURE).write_text(describe_failure(error) + "\n", encoding="utf-8")


def describe_failure(error: Exception) -> str:
    """Describe an error: the message of a user's error, or the last line of a bug's traceback."""
    return str(error) if isinstance(error, UserError) else traceback.format_exception_only(error)[-1].strip()
