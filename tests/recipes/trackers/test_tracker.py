"""What every tracker can do, on top of accelerate's."""

from collections.abc import Mapping
from typing import Any

from accelerate.tracking import GeneralTracker

from recipes.trackers.tracker import Point, RunTracker


class Least(RunTracker):
    """A tracker with accelerate's methods alone."""

    name = "least"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def log(self, values: Mapping[str, float], step: int | None = None, **options: Any) -> None:
        self.calls.append((dict(values), step))

    def finish(self) -> None:
        self.calls.append("finish")


def test_a_tracker_of_accelerate_is_enough() -> None:
    tracker = Least()
    assert isinstance(tracker, GeneralTracker) and tracker.tracker is None
    tracker.start()
    tracker.store_init_configuration({"seed": 0})
    tracker.log_points([Point(1, {"train/loss": 1.0}), Point(2, {"train/loss": 0.5})])
    tracker.log_pictures([], 3)
    tracker.log_results({"test/accuracy": 0.5}, {"health": "learned"}, 3)
    tracker.end("finished")
    assert tracker.calls == [({"train/loss": 1.0}, 1), ({"train/loss": 0.5}, 2), ({"test/accuracy": 0.5}, 3), "finish"]
