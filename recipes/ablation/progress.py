"""The progress of a study while its launcher is at work, read from disk so that it is the same for all launchers."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Column, Table

from recipes.ablation.design import Arm, Design
from recipes.ablation.runs import FAILED, FINISHED, MISSING, Row, Run, read_row
from recipes.metrics import is_lower_better
from recipes.reports.notebook import NotebookLine
from recipes.reports.tables import make_console

POLL_SECONDS = 1.0


class Progress:
    """Which runs have finished, and which are left.

    Args:
        runs: all runs of the study.
        metric: the score that is read.
        on_change: called with all rows whenever one of them has changed.
        finished: the rows of runs that were read before, by their folder.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        metric: str,
        on_change: Callable[[Sequence[Row]], None],
        finished: Mapping[Path, Row] = MappingProxyType({}),
    ) -> None:
        self.runs, self.metric, self.on_change = runs, metric, on_change
        self.rows = [finished.get(run.folder) or read_row(run, metric) for run in runs]
        self.ended_before = sum(row.status in (FINISHED, FAILED) for row in self.rows)
        self.start = time.monotonic()
        on_change(self.rows)

    def update(self) -> list[int]:
        """Read again the runs that had not finished.

        Returns:
            The indices of the runs that have ended since the last call.
        """
        ended = []
        for index, (run, row) in enumerate(zip(self.runs, self.rows, strict=True)):
            if row.status == FINISHED:
                continue
            new_row = read_row(run, self.metric)
            if new_row != row:
                self.rows[index] = new_row
                ended += [index] if new_row.status != MISSING else []
        if ended:
            self.on_change(self.rows)
        return ended

    def summarize(self) -> str:
        """Return the counts, and the time left at the speed of this session."""
        done, failed = (sum(row.status == status for row in self.rows) for status in (FINISHED, FAILED))
        running = sum(run.has_begun and not run.has_ended for run in self.runs)
        left = len(self.rows) - done - failed
        counts = [f"{done} of {len(self.rows)} runs done", f"{running} running", f"{left - running} waiting"]
        counts += [f"{failed} failed"] if failed else []
        ended_now = done + failed - self.ended_before
        if ended_now > 0 and left:
            counts.append(f"about {format_duration((time.monotonic() - self.start) / ended_now * left)} left")
        return " · ".join(counts)

    def estimate_effects(self) -> dict[str, float]:
        """Estimate each level's effect so far, from the seeds that all arms of a data set have finished.

        Arms with a failed run are left out, so that they do not keep the others waiting.

        Returns:
            Effects by name, in the metric's unit; empty before the first seed is complete.
        """
        space = self.runs[0].space
        failed = {row.arm for row in self.rows if row.status == FAILED}
        arms = tuple(arm for arm in dict.fromkeys(run.arm for run in self.runs) if arm not in failed)
        by_seed: dict[tuple[str, int], dict[Arm, float]] = {}
        for row in self.rows:
            if row.score is not None and row.arm in arms:
                by_seed.setdefault((row.data, row.seed), {})[row.arm] = row.score
        complete = [[scores[arm] for arm in arms] for scores in by_seed.values() if len(scores) == len(arms)]
        if not complete:
            return {}
        design = Design("full", tuple(len(factor.choices) for factor in space.factors), arms)
        means = np.mean(complete, axis=0) * (-1 if is_lower_better(self.metric) else 1)
        effects = {effect: float(weights @ means) for effect, weights in design.contrasts().items()}
        return {space.name_effect(effect.terms): effects[effect] for effect in design.mains if effect in effects}

    def format_run(self, index: int) -> str:
        """Describe a run in one line."""
        run, row = self.runs[index], self.rows[index]
        name = f"{row.data}, {run.space.name_arm(run.arm)}, seed {row.seed}"
        return f"{name}: {row.score:.4f}" if row.score is not None else f"{name}: {row.status}, {row.reason}"


@contextmanager
def show_progress(progress: Progress) -> Iterator[None]:
    """Show progress from a thread: a live table in a terminal, elsewhere a line for each run that ends.

    In a notebook one line is updated.
    """
    # A job in this process redirects standard error; the console keeps the original one.
    console = make_console(stderr=True, file=sys.stderr)
    line = NotebookLine()
    is_over = threading.Event()
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        effects = _build_table(progress.estimate_effects())

        def update() -> None:
            nonlocal effects
            if ended := progress.update():
                effects = _build_table(progress.estimate_effects())
            if console.is_terminal:
                live.update(Group(progress.summarize(), effects), refresh=True)
            if line.show(progress.summarize()):
                return
            for index in ended if not console.is_terminal else ():
                console.print(f"{progress.format_run(index)} · {progress.summarize()}", markup=False, soft_wrap=True)

        def update_until_over() -> None:
            while not is_over.wait(POLL_SECONDS):
                update()

        update()
        thread = threading.Thread(target=update_until_over, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            # Runs that ended since the thread's last update.
            update()


def _build_table(effects: Mapping[str, float]) -> Table | str:
    table = Table("so far", Column("adds", justify="right"))
    for name, value in effects.items():
        table.add_row(escape(name), f"{value:+.4f}")
    return table if effects else ""


def format_duration(seconds: float) -> str:
    """Format a duration in the unit that suits it: `12 s`, `10 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
