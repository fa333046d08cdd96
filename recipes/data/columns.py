"""Turn the columns of a table into examples with the columns id, source, text, text_pair and label."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from recipes.config import Data
from recipes.data.labels import Labels, read_label_columns, read_labels
from recipes.data.paths import setting_of_file
from recipes.data.records import Record
from recipes.errors import UserError, nearest

# The settings of `data` that name a column.
SETTINGS = ("id", "text", "text_pair", "label", "group")


def used_columns(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The columns that the config's `data` names, each with its setting before it."""
    named = {setting: settings[setting] for setting in SETTINGS if settings[setting]}
    names = {setting: name if isinstance(name, list) else [name] for setting, name in named.items()}
    return [(setting, name) for setting in names for name in names[setting]]


def find_problem(record: Record, used: Iterable[tuple[str, str]]) -> str:
    """Explain why a record of a file cannot be an example.

    Args:
        record: as read.
        used: its columns that are needed, each with its setting before it.

    Returns:
        One sentence without its period; empty if the record is good.
    """
    if record.problem:
        return record.problem
    if len(record.values) > 1 and list(record.values) == list(record.values.values()):
        return "it repeats the header; remove this line"
    for setting, name in used:
        cell = record.values.get(name)
        if isinstance(cell, str):
            if problem := _encoding_problem(cell):
                return f"{name!r} {problem}"
        elif cell is None:
            # Without its own text a record is none; a label or a group may be missing.
            if name not in record.values and setting not in ("label", "group"):
                return f"no {setting.replace('_', ' ')} in {name!r}; write one, or remove the record"
        elif isinstance(cell, list) and setting == "label":
            if not all(each is None or isinstance(each, str) for each in cell):
                return f"{name!r} holds a list of other things than labels; write their names"
            if problem := next(filter(None, map(_encoding_problem, filter(None, cell))), ""):
                return f"{name!r} {problem}"
        else:
            kind = "a list" if isinstance(cell, list) else "an object"
            expected = "label" if setting == "label" else "text"
            return f"{name!r} holds {kind}, not a {expected}; write a {expected}, or name another column"
    return ""


def _encoding_problem(text: str) -> str:
    """Name the problem of a text that cannot be written as UTF-8: undecodable bytes, or half of a surrogate pair."""
    if text.isascii():
        return ""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        # Bytes that cannot be decoded are read as these (`surrogateescape`).
        if 0xDC80 <= code <= 0xDCFF:
            return f"is not UTF-8 (byte 0x{code - 0xDC00:02X}), though the file is; correct it"
        return f"holds \\u{code:04x} without its other half, which is no character; remove it"
    return ""


def as_dataset(table: pa.Table) -> Dataset:
    """Make rows of a table, with a fingerprint of their cells.

    That of `datasets` says the same, and takes six times as long for few rows and twice as long for many.
    """
    rows = table.combine_chunks()
    return Dataset(rows, fingerprint=hash_cells(rows.schema, rows.to_batches())[:32])


def hash_cells(types: object, batches: Iterable[pa.RecordBatch]) -> str:
    """Hash all cells, and the types of their columns. Rows in other batches have another hash."""
    digest = hashlib.sha256(str(types).encode())
    for batch in batches:
        digest.update(batch.serialize())
    return digest.hexdigest()


def read_column(rows: Dataset, name: str, setting: str, split: str) -> pa.ChunkedArray:
    """Read one column as it is.

    Args:
        rows: the table.
        name: of the column.
        setting: the field of the config's `data` that names the column.
        split: of the rows, for the message.

    Raises:
        UserError: there is no such column.
    """
    if name not in rows.column_names:
        raise UserError(f"data.{setting}={name}: {split} has no such column; {nearest(name, rows.column_names)}")
    return rows.select_columns(name).with_format("arrow")[:][name]


def _read_texts(rows: Dataset, name: str, setting: str, split: str) -> pa.ChunkedArray:
    """Read one column as text; null becomes the empty text."""
    column = read_column(rows, name, setting, split)
    if _has_mixed_types(rows.features[name]):
        column = pa.chunked_array([pa.array([_json_to_text(cell) for cell in column.to_pylist()], pa.large_string())])
    if pa.types.is_nested(column.type):
        raise UserError(f"data.{setting}={name}: in {split} this column holds {column.type}, not text; name another.")
    try:
        return pc.fill_null(pc.cast(column, pa.large_string()), "")
    except pa.ArrowException as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"data.{setting}={name}: in {split} this column holds {column.type}, not text ({reason}); name another."
        ) from error


def _has_mixed_types(feature: Any) -> bool:
    """Whether cells have different types, for instance numbers and text; `datasets` then gives each as JSON."""
    # By name, because not every supported version of `datasets` has the class.
    return type(feature).__name__ == "Json"


def _json_to_text(cell: str | None) -> str | None:
    value = None if cell is None else json.loads(cell)
    return value if value is None or isinstance(value, str) else str(value)


def as_examples(
    rows: Dataset, settings: Data, split: str, source: str, multi_hot: int | None = None
) -> tuple[pa.Table, Labels]:
    """Give rows Trickbook's column names, with text cells as text and labels as names.

    Args:
        rows: as read.
        settings: the config's `data`, which names the columns.
        split: of the rows.
        source: the file or the hub's split, for the message.
        multi_hot: the length of the training rows' multi-hot lists, or 0; None where the training rows are read.

    Returns:
        A table with the columns id, source, text, text_pair and label, where `source` equals `id`; and its labels.

    Raises:
        UserError: there are no rows, columns are missing or of a wrong type, or ids repeat; all problems together.
    """
    if not len(rows):
        raise UserError(f"{setting_of_file(split, source)}: the split has no rows; name another.")
    problems: list[str] = []
    columns: dict[str, Any] = {}

    def add_column(column: str, make: Any, *arguments: Any) -> None:
        # Collect the problems, so that the user sees those of all columns at once.
        try:
            columns[column] = make(*arguments)
        except UserError as error:
            problems.extend(error.problems)

    if settings.id:
        add_column("id", _read_texts, rows, settings.id, "id", split)
    else:
        columns["id"] = pc.cast(pa.array(np.arange(len(rows))), pa.large_string())
    add_column("text", _read_texts, rows, settings.text, "text", split)
    if settings.text_pair:
        add_column("text_pair", _read_texts, rows, settings.text_pair, "text_pair", split)
    # Only training and validation must have labels.
    label_columns = settings.label if isinstance(settings.label, list) else [settings.label]
    if set(label_columns) & set(rows.column_names) or split in ("train", "validation"):
        add_column("label", _read_labels, rows, settings, split, multi_hot)
    # The group is read again when training rows are split; here it is only checked.
    if settings.group and split == "train":
        add_column("group", read_column, rows, settings.group, "group", split)
    if "id" in columns and settings.id:
        counts = pc.value_counts(columns["id"])
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(repeated):
            first = repeated[0]["values"].as_py()
            problems.append(
                f"data.id={settings.id}: {split} has {first!r} more than once; name a column of unique ids, or leave "
                "data.id out."
            )
    if problems:
        raise UserError(*problems)
    labels: Labels = columns.get("label") or Labels([None] * len(rows), False, 0, [])
    name = pa.large_string()
    columns["label"] = pa.array(labels.rows, pa.list_(name) if labels.has_lists else name)
    columns.setdefault("text_pair", pa.nulls(len(rows), pa.large_string()))
    columns["source"] = columns["id"]
    order = ("id", "source", "text", "text_pair", "label")
    return pa.table({name: columns[name] for name in order}), labels


def _read_labels(rows: Dataset, settings: Data, split: str, multi_hot: int | None) -> Labels:
    """Read label names, or lists of them."""
    if isinstance(settings.label, list):
        columns = {name: _label_cells(rows, name, split) for name in settings.label}
        return read_label_columns(columns, split)
    cells = _label_cells(rows, settings.label, split)
    return read_labels(cells, split, settings.label_separator, multi_hot)


def _label_cells(rows: Dataset, name: str, split: str) -> list[Any]:
    """Read a column of labels as text, as lists of text, or null."""
    column, feature = read_column(rows, name, "label", split), rows.features[name]
    if _has_mixed_types(feature):
        return [None if cell is None else label_cell(json.loads(cell)) for cell in column.to_pylist()]
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return [label_cell(cell, getattr(feature, "feature", None)) for cell in column.to_pylist()]
    if pa.types.is_nested(column.type):
        raise UserError(f"data.label={name}: in {split} this column holds {column.type}, not labels; name another.")
    # Read each different value once, not each row.
    encoded = column.combine_chunks().dictionary_encode()
    cells = [label_cell(value, feature) for value in encoded.dictionary.to_pylist()]
    return [None if index is None else cells[index] for index in encoded.indices.to_pylist()]


def label_cell(value: Any, feature: Any = None) -> Any:
    """A cell of a column of labels as text, as a list of text, or None if it holds no label.

    Args:
        value: the cell.
        feature: the column's type, which may be a `ClassLabel` that knows the names of class numbers.
    """
    if isinstance(value, list):
        return [label_cell(item, feature) for item in value]
    if isinstance(feature, datasets.ClassLabel) and isinstance(value, int):
        return None if value < 0 else str(feature.int2str(value))
    is_missing = value is None or isinstance(value, float) and math.isnan(value)
    return None if is_missing else str(value)
