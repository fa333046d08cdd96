"""`history.jsonl`: a line for each update and each evaluation."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.errors import UserError, unreadable
from recipes.runs.files import atomic_write, checksum

# The mark of an empty history.
START = {"bytes": 0, "crc32": "00000000"}


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
        """Read every complete line; none if there is no file.

        Raises:
            UserError: a line is damaged.
        """
        lines = []
        for number, line in enumerate(self._read_bytes().splitlines(keepends=True), 1):
            # A kill can leave half a line at the end.
            if not line.endswith(b"\n"):
                break
            try:
                values = json.loads(line)
            except ValueError:
                values = None
            if not isinstance(values, dict) or "update" not in values:
                raise UserError(f"{self.path}: line {number} is damaged. Start over with resume=false.")
            lines.append(values)
        return lines

    def cut(self, updates: int) -> None:
        """Drop the lines after an update: a resumed run makes these updates again."""
        lines = [line for line in self.read() if line["update"] <= updates]
        with atomic_write(self.path) as draft:
            draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def mark(self) -> dict[str, Any]:
        """Compute the length and checksum of all lines so far, for `begins_with` and `go_back`."""
        return checksum(self.path) if self.path.exists() else dict(START)

    def begins_with(self, mark: Mapping[str, Any]) -> bool:
        """Whether the file still begins with the lines that were in it at a mark."""
        return mark == START or (self.path.is_file() and checksum(self.path, mark["bytes"]) == mark)

    def go_back(self, mark: Mapping[str, Any]) -> None:
        """Drop everything after a mark: a resumed run makes these updates again."""
        contents = self._read_bytes()[: mark["bytes"]]
        with atomic_write(self.path) as draft:
            draft.write_bytes(contents)

    def _read_bytes(self) -> bytes:
        try:
            return self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise unreadable(str(self.path), error) from error


def _finite(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in line.items()
    }
