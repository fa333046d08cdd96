"""Read a file of variants: other wordings of training rows, each with the id of its row, that another program made."""

from dataclasses import replace

import pyarrow as pa
from datasets import Dataset

from recipes.config import Data
from recipes.data.columns import find_problem, used_columns
from recipes.data.formats import format_of
from recipes.data.paths import find_file
from recipes.data.records import Record, records
from recipes.errors import UserError, nearest

SPLIT = "the file of variants"
"""How messages call its rows."""


def read_variants(path: str, setting: str, settings: Data, id_column: str) -> tuple[Dataset, list[str]]:
    """Read variants of training rows.

    Args:
        path: of the file: CSV, TSV, JSONL or Parquet, also gzipped.
        setting: dotted path of the setting that names the file.
        settings: the config's `data`, which names the columns of texts.
        id_column: the column with the id of the row that a variant is of.

    Returns:
        Rows with the columns id, text and text_pair, without empty texts; and notes for the user.

    Raises:
        UserError: there is no such file, it cannot be read, it lacks a column, or it has no variant.
    """
    setting = f"{setting}={path}"
    file = find_file(SPLIT, path, setting)
    used = [each for each in used_columns(vars(replace(settings, id=id_column, group=None))) if each[0] != "label"]
    try:
        kind = format_of(file.name)
    except UserError as error:
        raise UserError(f"{setting}:{str(error).removeprefix(f'{file.name}:')}") from None
    reader = records(str(file), kind, [name for _, name in used], settings.header, settings.encoding, setting)
    rows: dict[str, list[str | None]] = {"id": [], "text": [], "text_pair": []}
    empty = 0
    for record in reader:
        if not record.number:
            _check_columns(reader.names([record]), used, setting)
        cells = _read_cells(record, used, setting)
        if all(cell.strip() for cell in cells.values()):
            for name in rows:
                rows[name].append(cells.get(name))
        else:
            empty += 1
    count = len(rows["id"])
    if not count:
        raise UserError(
            f"{setting}: {'each of its texts is empty' if empty else 'the file has no rows'}; name another file."
        )
    notes = (
        [f"{setting}: {empty:,} of {count + empty:,} variants have an empty cell and are left out."] if empty else []
    )
    return Dataset(pa.table({name: pa.array(cells, pa.large_string()) for name, cells in rows.items()})), [
        *reader.notes,
        *notes,
    ]


def _check_columns(present: list[str], used: list[tuple[str, str]], setting: str) -> None:
    problems = [
        f"{setting}: it has no column {name!r} with the {'id of each row' if each == 'id' else each}; "
        f"{nearest(name, present)}"
        for each, name in used
        if name not in present
    ]
    if present and problems:
        raise UserError(*problems)


def _read_cells(record: Record, used: list[tuple[str, str]], setting: str) -> dict[str, str]:
    if problem := find_problem(record, used):
        raise UserError(f"{setting}: {record.position}: {problem}.")
    cells = {each: record.values.get(name) or "" for each, name in used}
    return {**cells, "id": cells["id"].strip()}
