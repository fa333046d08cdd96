"""What a run asks of a tracker, beyond what every tracker of accelerate can do."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from accelerate.tracking import GeneralTracker

State = Literal["finished", "killed", "failed"]
"""How a run has ended: `killed` after Ctrl-C or SIGTERM, and the same command goes on."""


class Point(NamedTuple):
    """A line of the history, as trackers get it."""

    update: int
    values: Mapping[str, float]
    """By name, such as `train/loss` and `validation/accuracy`."""


class RunTracker(GeneralTracker):  # type: ignore[misc]  # accelerate ships no types
    """A tracker of one run. Any of its methods may fail: `recipes.trackers.tracking` expects it.

    accelerate gives each its name, `start`, `store_init_configuration` and `log`.
    """

    name = ""
    requires_logging_directory = False
    run_id: str | None = None
    """By which a later start finds this run again; None where the tracker needs none."""
    replaces = False
    """Whether points of a later start take the place of those that the run folder's checkpoint does not have."""
    drops_known = False
    """Whether it drops the points that it has already, so that all of them may be sent again."""
    address = ""
    """Where to look at the run, once it has started."""

    @property
    def tracker(self) -> Any:
        """The object of the tracker's own library, for those who want more of it."""
        return None

    def log_points(self, points: Sequence[Point]) -> None:
        """Log lines of the history."""
        for point in points:
            self.log(point.values, step=point.update)

    def log_results(self, scores: Mapping[str, float], texts: Mapping[str, str], update: int) -> None:
        """Log how the run has ended.

        Args:
            scores: the numbers of `metrics.json` by their path, such as `test/accuracy`.
            texts: headline and findings of its health, and which weights are final.
            update: the last update plus one.
        """
        self.log(scores, step=update)

    def log_pictures(self, paths: Sequence[Path], update: int) -> None:
        """Log picture files, each under its name."""

    def end(self, state: State) -> None:
        """Close the tracker's run."""
        self.finish()


def new_id() -> str:
    """A new id for a run."""
    return uuid.uuid4().hex[:8]
