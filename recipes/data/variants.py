"""Read a file of variants: other wordings of training rows, each with the id of its row, that another program made."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
from datasets import Dataset

from recipes.config import Data
from recipes.data.columns import as_dataset, find_problem, used_columns
from recipes.data.formats import format_of
from recipes.data.labels import Labels, read_label_columns, read_labels
from recipes.data.paths import find_file
from recipes.data.records import Record, records
from recipes.data.sources import NO_ROWS
from recipes.errors import UserError, nearest

SPLIT = "the file of variants"
"""How messages call its rows."""


def read_variants(
    path: str, setting: str, settings: Data, id_column: str, id_setting: str
) -> tuple[Dataset, list[str]]:
    """Read variants of training rows.

    Args:
        path: of the file: CSV, TSV, JSONL or Parquet, also gzipped.
        setting: dotted path of the setting that names the file.
        settings: the config's `data`, which names the columns of texts.
        id_column: the column with the id of the row that a variant is of.
        id_setting: dotted path of the setting that names that column.

    Returns:
        Rows with the columns id, text, text_pair and label, without empty texts; and notes for the user. Labels are
        null where the file has none.

    Raises:
        UserError: there is no such file, it cannot be read, it lacks a column, or it has no variant.
    """
    setting = f"{setting}={path}"
    file = find_file(SPLIT, path, setting)
    used = used_columns(vars(replace(settings, id=id_column, group=None)))
    label_columns = [name for each, name in used if each == "label"]
    try:
        kind = format_of(file.name)
    except UserError as error:
        raise UserError(f"{setting}:{str(error).removeprefix(f'{file.name}:')}") from None
    reader = records(str(file), kind, [name for _, name in used], settings.header, settings.encoding, setting)
    rows: dict[str, list[str | None]] = {"id": [], "text": [], "text_pair": []}
    label_cells: dict[str, list[Any]] = {name: [] for name in label_columns}
    empty = 0
    for record in reader:
        if not record.number:
            _check_columns(reader.names([record]), used, setting, id_setting)
        cells = _read_cells(record, used, setting)
        if all(cell.strip() for cell in cells.values()):
            for name in rows:
                rows[name].append(cells.get(name))
            for name, of_column in label_cells.items():
                of_column.append(record.values.get(name))
        else:
            empty += 1
    count = len(rows["id"])
    if not count:
        raise UserError(f"{setting}: {'each of its texts is empty; name another file.' if empty else NO_ROWS}")
    notes = (
        [f"{setting}: {empty:,} of {count + empty:,} variants have an empty cell and are left out."] if empty else []
    )
    columns = {name: pa.array(cells, pa.large_string()) for name, cells in rows.items()}
    labels = _read_labels(label_cells, settings, setting)
    text = pa.large_string()
    columns["label"] = pa.array(labels.rows, pa.list_(text) if labels.has_lists else text)
    return as_dataset(pa.table(columns)), [*reader.notes, *notes]


def _read_labels(cells: dict[str, list[Any]], settings: Data, setting: str) -> Labels:
    """Read the labels as those of the data; a file without them has no cells."""
    if isinstance(settings.label, list):
        return read_label_columns(cells, setting)
    return read_labels(cells[settings.label], setting, settings.label_separator)


def _check_columns(present: list[str], used: list[tuple[str, str]], setting: str, id_setting: str) -> None:
    settings = {"id": id_setting, "text": "data.text", "text_pair": "data.text_pair"}
    problems = [
        f"{setting}: {settings[each]}={name}: {SPLIT} has no such column; {nearest(name, present)}"
        for each, name in used
        if each != "label" and name not in present
    ]
    if present and problems:
        raise UserError(*problems)


def _read_cells(record: Record, used: list[tuple[str, str]], setting: str) -> dict[str, str]:
    if problem := find_problem(record, used):
        raise UserError(f"{setting}: {record.position}: {problem}.")
    cells = {each: record.values.get(name) or "" for each, name in used if each != "label"}
    return {**cells, "id": cells["id"].strip()}
