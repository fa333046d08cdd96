"""From the columns of a table to examples: id, source, text, text_pair, label."""

import json
import math
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from recipes.config import Data
from recipes.errors import UserError, nearest


def _column(rows: Dataset, name: str, setting: str, split: str) -> pa.ChunkedArray:
    if name not in rows.column_names:
        raise UserError(f"data.{setting}={name}: {split} has no such column; {nearest(name, rows.column_names)}")
    return rows.select_columns(name).with_format("arrow")[:][name]


def _texts(rows: Dataset, name: str, setting: str, split: str) -> pa.ChunkedArray:
    column = _column(rows, name, setting, split)
    if _is_json(rows.features[name]):  # where cells are of several kinds
        column = pa.chunked_array([pa.array([_written(cell) for cell in column.to_pylist()], pa.large_string())])
    if pa.types.is_nested(column.type):
        raise UserError(f"data.{setting}={name}: {split} holds {column.type} there, not text.")
    try:
        return pc.fill_null(pc.cast(column, pa.large_string()), "")
    except pa.ArrowException as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"data.{setting}={name}: {split} holds {column.type} there, not text ({reason}).") from error


def _is_json(feature: Any) -> bool:
    return type(feature).__name__ == "Json"  # not in every version that we take


def _written(cell: str | None) -> str | None:
    value = None if cell is None else json.loads(cell)
    return value if value is None or isinstance(value, str) else str(value)


def _as_examples(rows: Dataset, settings: Data, split: str, source: str) -> pa.Table:
    """The same rows under our column names, text cells as text and labels as names."""
    if not len(rows):
        raise UserError(f"{split} ({source}) has no rows.")
    problems: list[str] = []
    columns: dict[str, Any] = {}

    def put(column: str, make: Any, *arguments: Any) -> None:
        try:
            columns[column] = make(*arguments)
        except UserError as error:
            problems.extend(error.problems)

    if settings.id:
        put("id", _texts, rows, settings.id, "id", split)
    else:
        columns["id"] = pc.cast(pa.array(np.arange(len(rows))), pa.large_string())
    put("text", _texts, rows, settings.text, "text", split)
    if settings.text_pair:
        put("text_pair", _texts, rows, settings.text_pair, "text_pair", split)
    if settings.label in rows.column_names or split in ("train", "validation"):
        put("label", _labels, rows, settings, split)
    if settings.group and split == "train":
        put("group", _column, rows, settings.group, "group", split)
    if "id" in columns and settings.id:
        counts = pc.value_counts(columns["id"])
        again = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(again):
            problems.append(
                f"data.id={settings.id}: {split} has {again[0]['values'].as_py()!r} more than once; ids must be unique."
            )
    if problems:
        raise UserError(*problems)
    columns.setdefault("label", pa.nulls(len(rows), pa.large_string()))
    columns.setdefault("text_pair", pa.nulls(len(rows), pa.large_string()))
    columns["source"] = columns["id"]
    order = ("id", "source", "text", "text_pair", "label")
    return pa.table({name: columns[name] for name in order})


def _labels(rows: Dataset, settings: Data, split: str) -> pa.ChunkedArray:
    """Label names, or lists of them; null where a row has none (an empty cell, or a number below a hub's names)."""
    column = _column(rows, settings.label, "label", split)
    feature = rows.features[settings.label]
    inside = getattr(feature, "feature", None)
    lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    cells: list[Any] = []
    if _is_json(feature):  # where cells are of several kinds
        cells = [None if cell is None else json.loads(cell) for cell in column.to_pylist()]
        lists = any(isinstance(cell, list) for cell in cells)
        if not lists:
            return pa.chunked_array([pa.array([label_name(cell, None) for cell in cells], pa.large_string())])
    if lists:
        cells = cells or column.to_pylist()
        multi_label = [cell if cell is None or isinstance(cell, list) else [cell] for cell in cells]
        return _label_lists([cell and [label_name(value, inside) for value in cell] for cell in multi_label])
    if pa.types.is_nested(column.type):
        raise UserError(f"data.label={settings.label}: {split} holds {column.type} there, not labels.")
    if settings.label_separator:
        parts = [
            cell.split(settings.label_separator) for cell in _texts(rows, settings.label, "label", split).to_pylist()
        ]
        return _label_lists([[label_name(part, None) for part in cell] for cell in parts])
    coded = column.combine_chunks().dictionary_encode()
    names = pa.array([label_name(value, feature) for value in coded.dictionary.to_pylist()], pa.large_string())
    return pa.chunked_array([pc.take(names, coded.indices)])


def _label_lists(cells: Sequence[Sequence[str | None] | None]) -> pa.ChunkedArray:
    """Several labels to a row, each once."""
    kept = [None if cell is None else [name for name in dict.fromkeys(cell) if name] for cell in cells]
    return pa.chunked_array([pa.array(kept, pa.list_(pa.large_string()))])


def label_name(value: Any, feature: Any = None) -> str | None:
    """A label cell as a name; None where there is none."""
    if isinstance(feature, datasets.ClassLabel) and isinstance(value, int):
        return None if value < 0 else str(feature.int2str(value))
    if value is None or str(value).strip() == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
