"""How far a study is, told while its launcher is at work: read from disk, so that it is the same for all launchers."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table

from recipes.ablation.design import Arm, Design
from recipes.ablation.runs import FAILED, FINISHED, MISSING, Row, Run, row_of
from recipes.metrics import LOWER_IS_BETTER

SECONDS_BETWEEN_LOOKS = 1.0


class Progress:
    """What is done, and what is left.

    Args:
        runs: all that are to be made.
        metric: the score that is read.
        keep: takes all rows whenever one of them is news.
    """

    def __init__(self, runs: Sequence[Run], metric: str, keep: Callable[[Sequence[Row]], None]) -> None:
        """Read what is there."""
        self.runs, self.metric, self.keep = runs, metric, keep
        self.rows = [row_of(run, metric) for run in runs]
        self.before = sum(row.status in (FINISHED, FAILED) for row in self.rows)
        self.began = time.monotonic()
        keep(self.rows)

    def look(self) -> list[int]:
        """Read again what had not finished; gives the places of those that have ended since."""
        ended = []
        for place, (run, row) in enumerate(zip(self.runs, self.rows, strict=True)):
            if row.status != FINISHED and (now := row_of(run, self.metric)) != row:
                self.rows[place] = now
                ended += [place] if now.status != MISSING else []
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

    def effects(self) -> dict[str, float]:
        """What each level adds, by the seeds that all arms of a data set have finished; nothing before the first.

        Arms of which a run has failed do not keep the others waiting.
        """
        space = self.runs[0].space
        failed = {row.arm for row in self.rows if row.status == FAILED}
        arms = tuple(arm for arm in dict.fromkeys(run.arm for run in self.runs) if arm not in failed)
        by_seed: dict[tuple[str, int], dict[Arm, float]] = {}
        for row in self.rows:
            if row.score is not None and row.arm in arms:
                by_seed.setdefault((row.data, row.seed), {})[row.arm] = row.score
        whole = [[scores[arm] for arm in arms] for scores in by_seed.values() if len(scores) == len(arms)]
        if not whole:
            return {}
        design = Design("full", tuple(len(factor.choices) for factor in space.factors), arms)
        means = np.mean(whole, axis=0) * (-1 if self.metric in LOWER_IS_BETTER else 1)
        found = {effect: float(weights @ means) for effect, weights in design.contrasts().items()}
        return {space.effect(effect.places): found[effect] for effect in design.mains if effect in found}

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
        effects = _table(progress.effects())

        def look() -> None:
            nonlocal effects
            if ended := progress.look():
                effects = _table(progress.effects())
            if console.is_terminal:
                live.update(Group(progress.told(), effects), refresh=True)
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


def _table(effects: Mapping[str, float]) -> Table | str:
    table = Table("so far", Column("adds", justify="right"))
    for name, value in effects.items():
        table.add_row(name, f"{value:+.4f}")
    return table if effects else ""


def in_words(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
