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
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is opened before the first line."""
        self.path = path

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add lines; a number that is not finite is written as null, which JSON has."""
        text = "".join(json.dumps(_finite(line)) + "\n" for line in lines)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise unreadable(str(self.path), error) from error

    def read(self) -> list[dict[str, Any]]:
        """Every whole line; a kill can leave half of one at the end."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return found

    def cut(self, updates: int) -> None:
        """Drop what came after an update: it will be made again."""
        kept = [line for line in self.read() if line["update"] <= updates]
        with atomic_write(self.path) as draft:
            draft.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def _finite(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in line.items()
    }
