"""How far a study is, told while its launcher is at work: read from disk, so that it is the same for all launchers."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live

from recipes.ablation.runs import FAILED, FINISHED, MISSING, Row, Run, row_of

SECONDS_BETWEEN_LOOKS = 1.0


class Progress:
    """What is done, and what is left.

    Args:
        runs: all that are to be made.
        metric: the score that is read.
        keep: takes all rows whenever one of them is news.
        effects: what can be said so far, to be shown below.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        metric: str,
        keep: Callable[[Sequence[Row]], None],
        effects: Callable[[Sequence[Row]], RenderableType] = lambda rows: "",
    ) -> None:
        """Read what is there."""
        self.runs, self.metric, self.keep, self.effects = runs, metric, keep, effects
        self.rows = [row_of(run, metric) for run in runs]
        self.before = sum(row.status == FINISHED for row in self.rows)
        self.began = time.monotonic()
        keep(self.rows)

    def look(self) -> list[int]:
        """Read again what had not finished; gives the places of those that have ended since."""
        ended = []
        for place, (run, row) in enumerate(zip(self.runs, self.rows, strict=True)):
            if row.status != FINISHED and run.has_ended != (row.status == FAILED):
                self.rows[place] = row_of(run, self.metric)
                ended += [place] if self.rows[place].status != MISSING else []
        if ended:
            self.keep(self.rows)
        return ended

    def told(self) -> str:
        """The counts, and the time left by what this session has done so far."""
        done, failed = (sum(row.status == status for row in self.rows) for status in (FINISHED, FAILED))
        running = sum(run.has_begun and not run.has_ended for run in self.runs)
        left = len(self.rows) - done - failed
        counts = [f"{done} of {len(self.rows)} runs done", f"{running} running", f"{left - running} waiting"]
        counts += [f"{failed} failed"] if failed else []
        made = done + failed - self.before
        if made > 0 and left:
            counts.append(f"about {in_words((time.monotonic() - self.began) / made * left)} left")
        return " · ".join(counts)

    def line(self, place: int) -> str:
        """A run in one line."""
        run, row = self.runs[place], self.rows[place]
        what = f"{row.data}, {run.space.name(run.arm)}, seed {row.seed}"
        return f"{what}: {row.score:.4f}" if row.score is not None else f"{what}: {row.status}, {row.reason}"


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Inside this context a thread looks now and then: a live table in a terminal, elsewhere a line for each run."""
    # A job in this very process turns standard error away; what is shown here goes where it went before.
    console = Console(file=sys.stderr, highlight=False)
    over = threading.Event()
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:

        def look() -> None:
            ended = progress.look()
            if console.is_terminal:
                live.update(Group(progress.told(), progress.effects(progress.rows)), refresh=True)
            for place in ended if not console.is_terminal else ():
                console.print(f"{progress.line(place)} · {progress.told()}", markup=False, soft_wrap=True)

        def keep_looking() -> None:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                look()

        look()
        thread = threading.Thread(target=keep_looking, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            look()


def in_words(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
