"""`history.jsonl`: a line for each update and each evaluation."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.errors import unreadable
from recipes.runs.files import atomic_write


class History:
    """`history.jsonl`: a line for each update and each evaluation.

    Args:
        path: the file; it is made by the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add lines; NaN and inf are written as null, since JSON has neither.

        Raises:
            UserError: the disk is full or the file cannot be written.
        """
        text = "".join(json.dumps(_finite(line)) + "\n" for line in lines)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise unreadable(str(self.path), error) from error

    def read(self) -> list[dict[str, Any]]:
        """Read every complete line; none if there is no file."""
        if not self.path.exists():
            return []
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:  # a kill can leave half a line at the end
                break
        return lines

    def cut(self, updates: int) -> None:
        """Drop the lines after an update: a resumed run makes these updates again."""
        lines = [line for line in self.read() if line["update"] <= updates]
        with atomic_write(self.path) as draft:
            draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _finite(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in line.items()
    }
