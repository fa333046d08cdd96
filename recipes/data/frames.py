"""Rows in memory in place of a data file: frames, data sets and lists, written as JSON lines for the one reader.

The file is named by the SHA-256 of its content, in the cache of this machine. So the same rows are the same file, and
the same run; everything that works with files (resuming, the doctor, studies, workers) works with them too. A run
folder has the path and the fingerprint, and no rows. Without the file the same call writes it again.
"""

import hashlib
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

from recipes.data.cache import cache_folder
from recipes.errors import UserError, list_names, nearest, unreadable
from recipes.runs.files import atomic_write

# Nothing is imported for them here: whoever has a frame or a data set has imported its library.
Rows: TypeAlias = Any
"""A pandas or polars frame, a `datasets.Dataset`, an Arrow table; a mapping of columns; a list of mappings or tuples;
or a tuple of columns: `(texts, labels)` or `(texts, pairs, labels)`."""

FORMS = "a DataFrame, a datasets.Dataset, {'text': [...], 'label': [...]}, a list of dicts or of (text, label), or a "
FORMS += "tuple of columns, (texts, labels)"
MOST_FRACTIONS = 20
"""Different labels with fractions that may be ratings, such as 0.5, 1.0, 1.5; more of them are a measurement."""
DECODE = "decode these bytes, in pandas with str.decode('utf-8')"
"""What to do with bytes: `astype(str)` would make texts such as "b'good'" of them."""
NOT_IN_TEST = {"validation": {"group"}, "train": set[str]()}
"""The settings whose column a split may lack; of other splits the label too."""


class Table:
    """Rows in memory, by column.

    Args:
        names: of its columns, as text.
        read: returns the cells of a column.
    """

    def __init__(self, names: Sequence[str], read: Callable[[str], Sequence[Any]]) -> None:
        self.names, self.read = list(names), read


def save_rows(rows: Rows, split: str, used: Sequence[tuple[str, str]]) -> tuple[Path, int]:
    """Write the columns of rows that a config names as JSON lines, unless the file exists.

    Args:
        rows: in any form of `Rows`.
        split: train, validation, test, or the name of an extra split.
        used: the columns, each with its setting before it (`recipes.data.columns.used_columns`).

    Returns:
        The file, and the number of rows.

    Raises:
        UserError: with everything that is wrong with the rows; or the file cannot be written.

    Example:
        >>> path, count = save_rows([("good", 1), ("bad", 0)], "train", [("text", "review"), ("label", "stars")])
        >>> path.read_text().splitlines()
        ['{"review": "good", "stars": 1}', '{"review": "bad", "stars": 0}']
    """
    columns = _read_columns(open_rows(rows, split, used), split, used)
    records = (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
    lines = [f"{json.dumps(record, ensure_ascii=False)}\n".encode() for record in records]
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    path = cache_folder() / "rows" / f"rows-{digest.hexdigest()[:12]}.jsonl"
    if not path.exists():
        _write_private(path, lines)
    return path, len(lines)


def _write_private(path: Path, lines: Sequence[bytes]) -> None:
    """Write a file that its owner alone may read."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unreadable(str(path.parent), error) from error
    with atomic_write(path) as draft, open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.writelines(lines)


def split_rows(rows: Mapping[str, Rows]) -> dict[str, Rows]:
    """Replace a `datasets.DatasetDict` for train by its splits.

    Args:
        rows: of train, validation and test, where there are any.

    Raises:
        UserError: it has no split train, or one that is there already, or it stands for another split.
    """
    splits = dict(rows)
    for split, each in rows.items():
        if not _is_a(each, "datasets", "DatasetDict"):
            continue
        if split != "train":
            raise UserError(
                f"{split} is a DatasetDict; name one of its splits: {split}=data[{next(iter(each), split)!r}]."
            )
        if "train" not in each:
            raise UserError(f"train is a DatasetDict without a split 'train'; {nearest('train', map(str, each))}")
        if twice := [name for name in ("validation", "test") if name in each and name in rows]:
            raise UserError(
                f"{twice[0]} is there twice: as an argument and in the DatasetDict; write train=data['train']."
            )
        splits |= {name: each[name] for name in ("train", "validation", "test") if name in each}
    return splits


def open_rows(rows: Rows, split: str, used: Sequence[tuple[str, str]]) -> Table:
    """Find the columns of rows, in any form of `Rows`.

    Args:
        rows: of a split.
        split: its name, for messages.
        used: the columns that the config names, each with its setting; rows without names of columns get these.

    Raises:
        UserError: it is in no such form.
    """
    names = {setting: name for setting, name in reversed(used)}
    positions = [names[setting] for setting in ("text", "text_pair", "label") if setting in names]
    if _is_a(rows, "pandas", "DataFrame"):
        return _open_frame(rows, split)
    if _is_a(rows, "datasets", "Dataset"):
        return _open_data_set(rows)
    if isinstance(rows, Mapping) and not _is_a(rows, "datasets", "IterableDatasetDict"):
        return _open_columns({str(name): column for name, column in rows.items()}, split)
    if isinstance(rows, tuple):
        return _open_tuple(rows, split, positions)
    if _is_array(rows) and rows.ndim == 2:
        rows = rows.tolist()
    if isinstance(rows, list):
        return _open_list(rows, split, positions)
    if hasattr(rows, "__arrow_c_stream__") and not _is_column(rows):
        import pyarrow as pa

        table = pa.table(rows)
        return Table(table.column_names, lambda name: table.column(name).to_pylist())
    raise UserError(_explain_form(rows, split, positions[0]))


def _is_a(rows: Rows, library: str, name: str) -> bool:
    """Whether rows are of a class of a library; it is not imported for that."""
    kind = getattr(sys.modules.get(library), name, None)
    return kind is not None and isinstance(rows, kind)


def _is_array(rows: Rows) -> bool:
    return hasattr(rows, "tolist") and hasattr(rows, "ndim") and type(rows).__name__ in ("ndarray", "Tensor")


def _is_column(rows: Rows) -> bool:
    """Whether it is one column of something: a series, an array, or a list of texts."""
    is_array = _is_array(rows) and rows.ndim == 1
    names = ("Series", "Column", "Index", "Array", "ChunkedArray", "StringArray")
    return (
        is_array
        or type(rows).__name__ in names
        or (isinstance(rows, list) and all(isinstance(row, str) for row in rows))
    )


def _explain_form(rows: Rows, split: str, text: str) -> str:
    """Explain why rows are in no form that can be read."""
    kind = type(rows).__name__
    if _is_column(rows):
        column = "a list of texts" if isinstance(rows, list) else f"one column ({kind})"
        advice = f"{split}=df or {split}=(texts, labels)"
        if split not in ("train", "validation"):
            advice += f"; for texts without labels write {split}={{{text!r}: texts}}"
        return f"{split} is {column}, without labels; give both: {advice}."
    if kind.startswith("Iterable"):
        return (
            f"{split} is a streaming data set ({kind}), which can be read only once; load it without streaming=True, "
            "or take its first rows: datasets.Dataset.from_list(list(data.take(10000)))."
        )
    if rows is False and split == "test":
        return "test=False: a run without a test split has evaluate__test=False."
    if hasattr(rows, "collect"):
        return f"{split} is a {kind}, which is not computed yet; give {split}=frame.collect()."
    if hasattr(rows, "__next__"):
        return f"{split} is a {kind}, which can be read only once; give {split}=list(...)."
    return f"{split} is of type {kind}; give {FORMS}."


def _open_frame(frame: Any, split: str) -> Table:
    """The columns of a pandas frame by position: its index does not matter, and a name may stand there twice."""
    if frame.columns.nlevels > 1:
        raise UserError(
            f"{split} has column names of {frame.columns.nlevels} levels; join them: "
            "df.columns = ['.'.join(map(str, name)) for name in df.columns]."
        )
    names = [str(name) for name in frame.columns]

    def read(name: str) -> Sequence[Any]:
        if names.count(name) > 1:
            raise UserError(f"{split} has {names.count(name)} columns {name!r}; rename or drop one.")
        cells: list[Any] = frame.iloc[:, names.index(name)].tolist()
        return cells

    return Table(names, read)


def _open_data_set(rows: Any) -> Table:
    """The columns of a `datasets.Dataset`, whatever its format; class numbers become the names of the classes."""
    from recipes.data.columns import label_cell  # late: it imports `datasets`, which whoever has a data set has

    def read(name: str) -> Sequence[Any]:
        cells, feature = rows.select_columns(name).with_format(None)[:][name], rows.features[name]
        has_classes = "ClassLabel" in str(feature)
        return [label_cell(cell, getattr(feature, "feature", feature)) for cell in cells] if has_classes else cells

    return Table(rows.column_names, read)


def _open_columns(columns: Mapping[str, Any], split: str) -> Table:
    """The columns of a mapping, all of one length."""
    for name, column in columns.items():
        if isinstance(column, str) or not hasattr(column, "__len__"):
            raise UserError(
                f"{split}: its column {name!r} is of type {type(column).__name__}; write a list with a cell for each "
                f"row, {split}={{{name!r}: [...]}}."
            )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        described = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise UserError(
            f"{split}: its columns have different lengths ({described}); each row needs a cell in every one."
        )
    return Table(list(columns), lambda name: [*columns[name]])


def _open_tuple(columns: tuple[Any, ...], split: str, positions: Sequence[str]) -> Table:
    """A tuple of columns, which have no names: the text, its pair if the config has pairs, the label."""
    if any(isinstance(column, str) or not hasattr(column, "__len__") for column in columns):
        raise UserError(
            f"{split} is a tuple, which is read as columns, (texts, labels); for one row write a list of it."
        )
    if len(columns) != len(positions):
        subject = f"{split} is a tuple of {len(columns)}, which is read as columns (rows are written as a list)"
        raise UserError(_explain_width(subject, positions))
    return _open_columns(dict(zip(positions, columns, strict=True)), split)


def _open_list(rows: list[Any], split: str, positions: Sequence[str]) -> Table:
    """A list of rows: of mappings, or of tuples without names."""
    if rows and _is_column(rows):
        raise UserError(_explain_form(rows, split, positions[0]))
    kinds = Counter(
        "dict" if isinstance(row, Mapping) else "tuple" if isinstance(row, tuple | list) else "" for row in rows
    )
    if "" in kinds:
        odd = next(number for number, row in enumerate(rows) if not isinstance(row, Mapping | tuple | list))
        raise UserError(f"{split}: row {odd} (counted from 0) is of type {type(rows[odd]).__name__}; give {FORMS}.")
    if len(kinds) > 1:
        raise UserError(f"{split} has {kinds['dict']} dicts and {kinds['tuple']} tuples; write all rows alike.")
    if "dict" in kinds:
        names = list(dict.fromkeys(str(name) for row in rows for name in row))
        by_name = [{str(name): cell for name, cell in row.items()} for row in rows]
        return Table(names, lambda name: [row.get(name) for row in by_name])
    if odd_rows := [number for number, row in enumerate(rows) if len(row) != len(positions)]:
        subject = f"row {odd_rows[0]} of {split} (counted from 0) has {len(rows[odd_rows[0]])} cells"
        raise UserError(_explain_width(subject, positions))
    return Table(positions, lambda name: [row[positions.index(name)] for row in rows])


def _explain_width(subject: str, positions: Sequence[str]) -> str:
    pairs = "" if len(positions) == 3 else "; for pairs of texts set text_pair='pair'"
    return f"{subject}, but {len(positions)} are expected: {list_names(positions, quoted=False)}{pairs}."


def _read_columns(table: Table, split: str, used: Sequence[tuple[str, str]]) -> dict[str, list[Any]]:
    """Read and check the columns that a config names.

    Raises:
        UserError: with all problems.
    """
    optional = NOT_IN_TEST.get(split, {"label", "group"})
    columns, problems = dict[str, list[Any]](), list[str]()
    for setting, name in used:
        if name not in table.names:
            if setting not in optional:
                problems.append(f"{setting}={name!r}: {split} has no such column; {nearest(name, table.names)}")
            continue
        try:
            cells = table.read(name)
            if not len(cells):
                raise UserError(f"{split} has no rows; give a table with at least one.")
            convert = _as_texts if setting in ("text", "text_pair") else _as_names
            columns[name] = convert(cells, setting, name, split)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return columns


def _as_texts(cells: Sequence[Any], setting: str, name: str, split: str) -> list[str]:
    """Check that every cell of a column is a text."""
    missing = [row for row, cell in enumerate(cells) if _is_missing(cell)]
    if missing:
        raise UserError(
            f"{setting}={name!r}: {len(missing)} of {len(cells)} texts of {split} are missing (first: row "
            f"{missing[0]}, counted from 0); remove these rows, in pandas with dropna(subset=[{name!r}]), or fill them "
            "with ''."
        )
    for row, cell in enumerate(cells):
        if not isinstance(cell, str):
            remedy = DECODE if isinstance(cell, bytes) else "write texts, in pandas with astype(str)"
            raise UserError(
                f"{setting}={name!r}: row {row} of {split} (counted from 0) holds {cell!r:.40} "
                f"({type(cell).__name__}), which is no text; name another column, or {remedy}."
            )
        _check_encoding(cell, setting, name, split, row)
    return [str(cell) for cell in cells]  # also of a subclass, such as that of NumPy


def _as_names(cells: Sequence[Any], setting: str, name: str, split: str) -> list[Any]:
    """The cells of a column of labels, ids or groups, as JSON has them."""
    values, fractions = list[Any](), set[float]()
    for row, cell in enumerate(cells):
        try:
            value = _as_name(cell, has_lists=setting == "label")
        except TypeError:
            kind = type(cell).__name__
            lists = ", or a list of them" if setting == "label" else ""
            remedy = DECODE if isinstance(cell, bytes) else f"write a text or a number{lists}"
            raise UserError(
                f"{setting}={name!r}: row {row} of {split} (counted from 0) holds {cell!r:.40} ({kind}); {remedy}."
            ) from None
        if isinstance(value, float):
            fractions.add(value)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                _check_encoding(text, setting, name, split, row)
        values.append(value)
    if setting == "label" and len(fractions) > MOST_FRACTIONS:
        raise UserError(
            f"label={name!r}: {split} has {len(fractions)} different numbers with fractions, such as "
            f"{min(fractions):g}, which are a measurement and not classes; make a few bins, in pandas with "
            f"pd.cut(df[{name!r}], 3).astype(str), or write them as texts if they are names."
        )
    return values


def _as_name(cell: Any, has_lists: bool) -> Any:
    """A cell as JSON has it: null, a text, a number, true or false, or a list of them.

    Raises:
        TypeError: it is of another kind.
    """
    if isinstance(cell, str):
        return str(cell)
    if hasattr(cell, "tolist"):  # of NumPy, torch or Arrow: a number, or an array
        cell = cell.tolist()
    if _is_missing(cell):
        return None
    if isinstance(cell, bool | int):
        return cell
    if isinstance(cell, float):
        if not math.isfinite(cell):
            raise TypeError
        return int(cell) if cell.is_integer() else cell
    if isinstance(cell, set | frozenset) and has_lists:
        return sorted((_as_name(each, False) for each in cell), key=str)  # a set has no order of its own
    if isinstance(cell, list | tuple) and has_lists:
        return [_as_name(each, False) for each in cell]
    if isinstance(cell, bytes | Mapping | list | tuple | set | frozenset):
        raise TypeError
    return str(cell)  # a date, a decimal number, an interval


def _is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, or what pandas has for a missing value."""
    is_nan = isinstance(cell, Real) and cell != cell
    return cell is None or is_nan or type(cell).__name__ in ("NAType", "NaTType")


def _check_encoding(text: str, setting: str, name: str, split: str, row: int) -> None:
    """Check that a text can be written as UTF-8.

    Raises:
        UserError: it holds half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{setting}={name!r}: row {row} of {split} (counted from 0) holds \\u{ord(text[error.start]):04x} without "
            "its other half, which is no character; remove it, with text.encode('utf-8', 'ignore').decode()."
        ) from None
