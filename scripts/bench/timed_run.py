"""The real training loop with a clock in it."""

import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from recipes.config import Config
from recipes.data.splits import Splits
from recipes.loop import TrainingRun
from recipes.reports.console import RunConsole


class TimedConsole(RunConsole):
    """The real console, with a clock."""

    seconds: float

    @contextmanager
    def show_progress(self) -> Iterator[None]:
        """Measure from the start of the loop until the history and TensorBoard are closed."""
        with super().show_progress():
            start = time.perf_counter()
            yield
        self.seconds = time.perf_counter() - start


class TimedRun(TrainingRun):
    """A run that neither evaluates nor saves, because its peers do not either."""

    console: TimedConsole

    def __init__(self, config: Config, tricks: Mapping[str, Any], splits: Splits, folder: Path) -> None:
        super().__init__(config, tricks, splits, folder)
        self.console = TimedConsole(self)

    def fit_quietly(self) -> float:
        """Train without output.

        Returns:
            The seconds of all updates.
        """
        with redirect_stdout(io.StringIO()):
            self.fit()
        return self.console.seconds

    def _evaluate(self) -> None:
        pass

    def _save(self) -> None:
        pass
