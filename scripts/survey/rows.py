"""The stored rows of the atlas, a line of CSV for each finished run, so small that they are in the repository.

A line has the scores and, of each validation row, whether the answer is right (a bit) and its loss (4 bits). That is
what effects and their intervals are computed from. The losses are rounded on a logarithmic scale and scaled so that
their mean is the exact loss: an effect is exact, and its interval is off by less than the rounding.
"""

import base64
import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from filelock import FileLock

SMALLEST, LARGEST = np.log(1e-3), np.log(20.0)
LEVELS = 15
Key = tuple[str, str, int, str, int, str]


@dataclass(frozen=True)
class Result:
    """A finished run."""

    encoder: str
    data: str
    updates: int
    tricks: str
    """Names joined by +; `base` if there are none."""
    seed: int
    digest: str
    """Of the overrides that decide the result."""
    validation: str
    """A hash of the validation rows."""
    health: str
    accuracy: float
    """NaN if training diverged, as the other scores."""
    macro_f1: float
    loss: float
    seconds: float
    """Of training."""
    wall: float
    """Seconds of the whole run, with its start and its end."""
    passes: float
    memory: float
    """Peak, in MB."""
    device: str
    graphs: str
    """Whether passes were replayed as CUDA graphs."""
    right: str
    """Bits of the validation rows, in base64."""
    losses: str

    @property
    def key(self) -> Key:
        """What the run is; two rows with the same key are the same run."""
        return (self.encoder, self.data, self.updates, self.tricks, self.seed, self.digest)


def encode_right(right: np.ndarray) -> str:
    """Encode whether each row is right, (row)."""
    return base64.b64encode(np.packbits(right.astype(bool)).tobytes()).decode()


def decode_right(text: str, count: int) -> np.ndarray:
    """Decode whether each row is right, 0 or 1, (row)."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))[:count].astype(float)


def encode_losses(losses: np.ndarray) -> str:
    """Encode the loss of each row, (row), with 4 bits."""
    steps = (np.log(np.maximum(losses, 1e-12)) - SMALLEST) / (LARGEST - SMALLEST)
    codes = np.rint(LEVELS * np.clip(steps, 0, 1)).astype(np.uint8)
    codes = np.append(codes, np.zeros(len(codes) % 2, np.uint8))
    return base64.b64encode((codes[::2] << 4 | codes[1::2]).tobytes()).decode()


def decode_losses(text: str, count: int, mean: float) -> np.ndarray:
    """Decode the loss of each row, (row), scaled so that their mean is exact."""
    pairs = np.frombuffer(base64.b64decode(text), np.uint8)
    codes = np.column_stack([pairs >> 4, pairs & 15]).ravel()[:count]
    losses = np.exp(SMALLEST + codes / LEVELS * (LARGEST - SMALLEST))
    return np.asarray(losses * (mean / losses.mean()))


def read_results(folder: Path) -> dict[Key, Result]:
    """Read the finished runs of all files of a folder; a line that a kill cut off is left out."""
    results: dict[Key, Result] = {}
    for path in sorted(folder.glob("*.csv")):
        complete = path.read_bytes().rpartition(b"\n")[0].decode()
        for line in csv.DictReader(io.StringIO(complete)):
            result = parse(line)
            results[result.key] = result
    return results


def parse(line: Mapping[str, str]) -> Result:
    """Parse a line."""
    return Result(**{each.name: each.type(line[each.name]) for each in fields(Result)})  # type: ignore[operator]


def append_result(folder: Path, result: Result, locks: Path) -> None:
    """Append a finished run to the file of its encoder; what a kill has left of a line is removed first."""
    path = folder / f"{result.encoder}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{result.encoder}.lock"), path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        lines = write_lines([result], with_header=file.seek(0, os.SEEK_END) == 0)
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())


def write_lines(results: Iterable[Result], with_header: bool) -> str:
    """Write lines of CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [each.name for each in fields(Result)], lineterminator="\n")
    if with_header:
        writer.writeheader()
    writer.writerows(map(asdict, results))
    return text.getvalue()
