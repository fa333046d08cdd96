"""Predictions as CSV: whatever is written is read back equal, any name and every digit of a probability."""

import csv
import re
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.files import atomic_write

# A row without a label among rows with lists of labels, where an empty cell is the empty list.
NO_LIST = "\\N"
PREFIX = "p_"
"""Begins the name of a column with the probabilities of a class."""
CELLS_AT_ONCE = 1 << 18


def label_cell(label: Any) -> str:
    r"""Format a label for a cell of CSV; no label is an empty cell.

    The labels of a list are joined by `|`. In a list `|` and `\` are written as `\|` and `\\`.
    """
    if isinstance(label, list):
        return "|".join(name.replace("\\", "\\\\").replace("|", "\\|") for name in label)
    return label or ""


def parse_labels(cell: str) -> list[str] | None:
    """Read a list of labels from a cell of CSV; None if the row has no label."""
    if cell == NO_LIST:
        return None
    names = re.findall(r"(?:\\[|\\]|[^|])+", cell)
    return [re.sub(r"\\([|\\])", r"\1", name) for name in names]


def csv_writer(lines: IO[str], delimiter: str = ",") -> Any:
    """A writer of CSV whose rows are read back equal; the file must be open with `newline=""`."""

    class Lines:
        """Ends a row with a line feed alone. Cells with a carriage return are quoted only if rows end with one too."""

        def write(self, row: str) -> int:
            return lines.write(f"{row[:-2]}\n")

    return csv.writer(Lines(), delimiter=delimiter, lineterminator="\r\n")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `id,label,prediction,p_<class>...`, in the order of the data.

    Probabilities have as many digits as tell two numbers of 32 bits apart.
    """
    no_label = NO_LIST if predictions.multi_label else ""
    rows_at_once = max(1, CELLS_AT_ONCE // max(1, len(predictions.classes)))
    names = predictions.names()
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as lines:
        writer = csv_writer(lines)
        writer.writerow(["id", "label", "prediction", *(f"{PREFIX}{name}" for name in predictions.classes)])
        for first in range(0, len(names), rows_at_once):
            probabilities = _shortest(predictions.probabilities[first : first + rows_at_once])
            for row, cells in enumerate(probabilities, first):
                label = predictions.labels[row]
                cell = no_label if label is None else label_cell(label)
                writer.writerow([predictions.ids[row], cell, label_cell(names[row]), *cells])


def _shortest(numbers: np.ndarray) -> list[list[str]]:
    """The shortest texts that are these numbers of 32 bits, (row, class)."""
    texts = pc.cast(pa.array(numbers.astype(np.float32).reshape(-1)), pa.string()).to_pylist()
    width = numbers.shape[1]
    return [texts[start : start + width] for start in range(0, len(texts), width)]


def read_columns(path: Path) -> dict[str, list[str]]:
    """Read the columns of a file of predictions as text, by name.

    Raises:
        UserError: the file is damaged.
    """
    header, rows = _read_rows(path)
    return {name: [row[index] for row in rows] for index, name in enumerate(header)}


def read_predictions(path: Path, multi_label: bool) -> Predictions:
    """Read a file that `write_predictions` has written.

    Raises:
        UserError: the file is damaged.
    """
    header, rows = _read_rows(path)
    classes = [name.removeprefix(PREFIX) for name in header if name.startswith(PREFIX)]
    first = len(header) - len(classes)
    index = {name: number for number, name in enumerate(classes)}
    try:
        columns = [header.index(name) for name in ("id", "label", "prediction")]
        ids, labels, predicted = ([row[column] for row in rows] for column in columns)
        probabilities = np.array([list(map(float, row[first:])) for row in rows], np.float32)
        decisions = np.zeros((len(rows), len(classes)), np.int8)
        for row, cell in enumerate(predicted):
            names = parse_labels(cell) or [] if multi_label else [cell]
            decisions[row, [index[name] for name in names]] = 1
    except (ValueError, KeyError) as error:
        raise _damaged(path, str(error)) from error
    parsed = [parse_labels(cell) if multi_label else cell or None for cell in labels]
    return Predictions(ids, parsed, probabilities.reshape(-1, len(classes)), decisions, classes, multi_label)


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            header, *rows = csv.reader(lines)
    except (ValueError, csv.Error) as error:
        raise _damaged(path, str(error)) from error
    if any(len(row) != len(header) for row in rows):
        raise _damaged(path, "a row has fewer or more cells than the first line")
    return header, rows


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is damaged ({reason}); copy it again, or train again with resume=false.")
