"""Trackers for tests: one that records what it gets, and one that fails at everything."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.trackers.tracker import Point, RunTracker, State
from recipes.trackers.tracking import Trackers


class Recorder(RunTracker):
    """Records every call.

    Args:
        run_id: of the run to go on with; None: a new one, `new`.
        drops_known: as of every tracker.
    """

    name = "recorder"

    def __init__(self, run_id: str | None = None, drops_known: bool = False) -> None:
        self.run_id, self.drops_known = run_id or "new", drops_known
        self.calls: list[tuple[Any, ...]] = []
        self.points: list[Point] = []
        self.failing: set[str] = set()

    def _call(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if name in self.failing:
            raise ConnectionError("no route to\nhost")

    def start(self) -> None:
        self._call("start")

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        self._call("config", dict(values))

    def log_points(self, points: Sequence[Point]) -> None:
        self._call("points", [point.update for point in points])
        self.points += points

    def log_pictures(self, paths: Sequence[Path], update: int) -> None:
        self._call("pictures", [path.name for path in paths], update)

    def log_results(self, scores: Mapping[str, float], texts: Mapping[str, str], update: int) -> None:
        self._call("results", dict(scores), dict(texts), update)

    def end(self, state: State) -> None:
        self._call("end", state)

    def names(self) -> list[str]:
        """The calls by name, each stretch of the same call once."""
        names = [call[0] for call in self.calls]
        return [name for number, name in enumerate(names) if number == 0 or names[number - 1] != name]


class Failing(Recorder):
    """Records every call, and fails."""

    name = "failing"

    def _call(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        raise RuntimeError(f"{name} is impossible")


def use(make: Callable[[str | None], RunTracker]) -> None:
    """Let every run of this process have this tracker in place of those that its config chooses: only in a child.

    Args:
        make: given the id under which an earlier start has recorded the run, or None.
    """

    def make_tracker(trackers: Trackers, name: str, next_update: int) -> RunTracker:
        return make(next((record["id"] for record in trackers.record.values()), None))

    Trackers.make = make_tracker  # type: ignore[method-assign]
