"""The lines of a history as points for a tracker, read while the history grows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.reports.smoothing import SmoothedLoss
from recipes.trackers.tracker import Point


class Tail:
    """Reads the lines that have been added to `history.jsonl` since it last read.

    Args:
        path: the file; it need not exist yet.
        skip: number of its first lines that the tracker has already.
    """

    def __init__(self, path: Path, skip: int = 0) -> None:
        self.path, self.skip = path, skip
        self.count = self.offset = self.last_update = 0
        self.smoothed = SmoothedLoss()

    @property
    def sent(self) -> int:
        """How many lines the tracker has once it has got all that was read."""
        return max(self.skip, self.count)

    def read(self) -> list[Point]:
        """Read the new complete lines, each as a point."""
        points: list[Point] = []
        if not self.path.exists():
            return points
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.offset += len(line)
                self.count += 1
                point = self._make_point(json.loads(line))
                self.last_update = point.update
                if self.count > self.skip:
                    points.append(point)
        return points

    def _make_point(self, line: Mapping[str, Any]) -> Point:
        split, values = line.get("split", "train"), dict(line)
        if split == "train":
            self.smoothed.add(line.get("loss"))
            values["loss_smoothed"] = self.smoothed.value
        numbers = {f"{split}/{name}": value for name, value in values.items() if is_number(value) and name != "update"}
        return Point(line["update"], numbers)


def is_number(value: Any) -> bool:
    """Whether a value is a number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def count_lines(path: Path) -> int:
    """Count the complete lines of a file; none if there is no file."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
