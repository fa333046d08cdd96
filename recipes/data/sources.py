"""Read rows from a file, or from the Hugging Face hub."""

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset

from recipes.config import Data
from recipes.data.columns import as_dataset, find_problem, used_columns
from recipes.data.formats import format_of
from recipes.data.paths import find_file, setting_of_file
from recipes.data.records import records
from recipes.errors import UserError, nearest

ROWS_AT_ONCE = 1000
NO_ROWS = "the file has no rows; write some into it, or name another file."
LABEL_LIST = pa.list_(pa.large_string())


def read_file(split: str, path: str, settings: Data, setting: str | None = None) -> tuple[Dataset, list[str]]:
    """Read the columns of a data file that the config names: CSV, TSV, JSON or JSON lines, or Parquet; also gzip.

    Args:
        split: train, validation, test, or a name in `evaluate.extra`.
        path: of the file.
        settings: the config's `data`.
        setting: the override that names the file, for messages; None: that of the split.

    Returns:
        The columns under their own names, of text, or of lists of texts if a cell is a list; and notes for the user.

    Raises:
        UserError: the file does not exist, a record cannot be read, or columns are missing; with the line.
    """
    owner, setting = setting, setting or setting_of_file(split, path)
    file = find_file(split, path, setting)
    try:
        kind = format_of(file.name)
    except UserError as error:
        raise UserError(f"{setting}:{str(error).removeprefix(f'{file.name}:')}") from None
    used = used_columns(vars(settings))
    names = [name for _, name in used]
    label = next(name for each, name in used if each == "label")
    reader = records(str(file), kind, names, settings.header, settings.encoding, setting)
    chunks: dict[str, list[pa.Array]] = {}
    labels, rows = set[str](), 0
    while chunk := list(islice(reader, ROWS_AT_ONCE)):
        if not rows:
            # Without any name the first record is a bad one, which is reported below.
            if names := reader.names(chunk):
                _check_columns(used, names, split, reader.advise(chunk), owner)
                used = [(each, name) for each, name in used if name in names]
            chunks = {name: [] for _, name in used}
        rows += len(chunk)
        labels.update(cell for record in chunk if isinstance(cell := record.values.get(label), str) and cell)
        for record in chunk:
            problem = find_problem(record, used) or reader.find_swallowed_row(record, label, labels)
            if problem:
                raise UserError(f"{setting}: {record.position}: {problem}.")
        for name in chunks:
            chunks[name].append(_as_array([record.values.get(name) for record in chunk]))
    if not rows:
        raise UserError(f"{setting}: {NO_ROWS}")
    return as_dataset(pa.table({name: _join_arrays(arrays) for name, arrays in chunks.items()})), reader.notes


def _check_columns(
    used: Iterable[tuple[str, str]], names: Collection[str], split: str, advice: str, owner: str | None
) -> None:
    """Check that a file has the columns that a split needs.

    Args:
        used: the columns that the config names, each with its setting before it.
        names: the columns of the file.
        split: of the rows.
        advice: why a column may be missing.
        owner: the override that names the file, if the file is of no split of the data.

    Raises:
        UserError: with all columns that are missing.
    """
    # Only training and validation must have labels; groups are for splitting the training rows.
    optional = {"group"} if split == "validation" else {"label", "group"} if split != "train" else set()
    prefix = f"{owner}: " if owner else ""
    missing = [
        f"{prefix}data.{setting}={name}: {split} has no such column; {nearest(name, names)}{advice}"
        for setting, name in used
        if name not in names and setting not in optional
    ]
    if missing:
        raise UserError(*missing)


def _as_array(cells: list[Any]) -> pa.Array:
    """Cells as texts, or as lists of texts if one of them is a list."""
    if any(isinstance(cell, list) for cell in cells):
        return pa.array([[cell] if isinstance(cell, str) else cell for cell in cells], LABEL_LIST)
    return pa.array(cells, pa.large_string())


def _join_arrays(arrays: list[pa.Array]) -> pa.ChunkedArray:
    """Join the parts of a column; if one has lists, a single text of another becomes a list of one."""
    if any(array.type == LABEL_LIST for array in arrays):
        arrays = [array if array.type == LABEL_LIST else _as_array([*array.to_pylist(), []])[:-1] for array in arrays]
    return pa.chunked_array(arrays)


def read_hub(settings: Data, split: str, source: str) -> Dataset:
    """Read a split of a data set on the hub, or of a folder with the same layout.

    Args:
        settings: the config's `data`.
        split: the setting that names it: train, validation or test.
        source: the hub's name of the split.

    Raises:
        UserError: the split cannot be loaded.
    """
    try:
        return datasets.load_dataset(settings.name, settings.subset, split=source)
    # RuntimeError: the data set needs its own loading script, which `datasets` no longer runs.
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"data.name={settings.name}: split {source} cannot be loaded ({reason}). Check data.name, data.subset, "
            f"data.{split} and the network; or download it elsewhere and use data=files."
        ) from error
