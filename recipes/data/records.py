"""Records of a file of any size, read one by one, and prediction files that grow by pieces.

A record that cannot be read does not stop the reading: it comes with the reason in `Record.problem`.
"""

import csv
import gzip
import io
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from recipes.data.formats import FORMATS, SEPARATORS, open_bytes
from recipes.errors import UserError
from recipes.runs.folder import label_cell

# The name that stands for standard input or output.
STANDARD = "-"
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Record:
    """One record of a file."""

    number: int
    """Its index in the file, from 0."""
    values: Mapping[str, Any]
    """By column; empty if the record cannot be read."""
    problem: str = ""
    """Why it cannot be read."""


def format_of(name: str, requested: str | None, gzipped: bool = True) -> str:
    """The format of a file: as requested, or by its ending.

    Args:
        name: of the file, or `-`.
        requested: the format that the user asks for, if any.
        gzipped: whether `.gz` may follow the ending.

    Returns:
        csv, tsv, jsonl or parquet.

    Raises:
        UserError: the ending is unknown.
    """
    if requested:
        return requested
    if name == STANDARD:
        return "jsonl"
    path = Path(name.removesuffix(".gz") if gzipped else name)
    if path.suffix not in FORMATS:
        also = " (.gz may follow)" if gzipped else ""
        raise UserError(f"{name}: the ending must be one of {', '.join(FORMATS)}{also}.")
    return FORMATS[path.suffix]


def records(name: str, kind: str) -> Iterator[Record]:
    """Read the records of a file, or of standard input, in their order.

    Args:
        name: of the file, or `-`.
        kind: csv, tsv, jsonl or parquet.

    Raises:
        UserError: the file does not exist, or the file as such cannot be read.
    """
    if name != STANDARD and (not Path(name).exists() or Path(name).is_dir()):
        raise UserError(f"{name}: there is no such file.")
    if kind == "parquet":
        if name == STANDARD:
            raise UserError("-: Parquet cannot be read from standard input; give a file, or --format=csv or jsonl.")
        return _read_parquet(Path(name))
    return _read_csv(name, SEPARATORS[kind]) if kind in SEPARATORS else _read_jsonl(name)


def _read_lines(name: str) -> Iterator[str]:
    with open_bytes(None if name == STANDARD else Path(name)) as raw:
        # Bytes that are not UTF-8 become surrogates, so that only their own record is a bad one (`_encoding_problem`).
        with io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="") as lines:
            try:
                yield from lines
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise UserError(f"{name}: the gzip file is cut off or damaged ({error}).") from error


def _read_csv(name: str, separator: str) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(_read_lines(name), delimiter=separator, strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise UserError(f"{name}: the file is empty; its first line must name the columns.")
        if twice := [column for column, count in Counter(header).items() if count > 1]:
            raise UserError(f"{name}: the header names {twice[0]!r} twice.")
        # In a table with one column an empty line is a row, as it is in training.
        rows = (row or [""] for row in reader if row or len(header) == 1)
        for number, cells in enumerate(rows):
            problem = "" if len(cells) == len(header) else f"{len(cells)} cells, but the header names {len(header)}"
            yield Record(number, dict(zip(header, cells, strict=False)), problem or _encoding_problem(cells))
    except csv.Error as error:
        raise UserError(
            f"{name}: line {reader.line_num} is not valid CSV ({error}). Close each quote, and double a quote inside a "
            "quoted cell."
        ) from error


def _read_jsonl(name: str) -> Iterator[Record]:
    for number, line in enumerate(line for line in _read_lines(name) if line.strip()):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Record(number, {}, f"not valid JSON ({error})")
            continue
        if isinstance(values, dict):
            yield Record(number, values, _encoding_problem(values.values()))
        else:
            yield Record(number, {}, "not a JSON object; each line must be an object with the columns as keys")


def _read_parquet(path: Path) -> Iterator[Record]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(ROWS_AT_ONCE):
                for values in batch.to_pylist():
                    yield Record(number, values)
                    number += 1
    except pa.ArrowException as error:
        raise UserError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')}).") from error


def _encoding_problem(cells: Iterable[Any]) -> str:
    """Name the problem of texts that cannot be written as UTF-8: undecodable bytes, or half of a surrogate pair."""
    try:
        "".join(cell for cell in cells if isinstance(cell, str)).encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    return ""


def write_piece(
    path: Path, kind: str, names: Sequence[str], rows: Sequence[Sequence[Any]], multi_label: bool = False
) -> None:
    """Write some rows of predictions without a header, as a piece for `join_pieces`.

    Args:
        path: of the piece.
        kind: csv, tsv, jsonl or parquet.
        names: of the columns: id, prediction, and a number for each class.
        rows: their cells.
        multi_label: whether a prediction is a list.
    """
    if kind == "parquet":
        types = {"prediction": pa.list_(pa.string()) if multi_label else pa.string(), "id": pa.string()}
        schema = pa.schema([(name, types.get(name, pa.float32())) for name in names])
        pq.write_table(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema), path)
        return
    with path.open("w", encoding="utf-8", newline="") as lines:
        write_rows(lines, kind, names, rows)


def write_rows(lines: IO[str], kind: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write some rows as text.

    CSV and TSV cells cannot hold lists; a list of labels is joined as in `predictions/<split>.csv`.
    """
    if kind == "jsonl":
        lines.writelines(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
    else:
        cells = ([label_cell(cell) if isinstance(cell, list) else cell for cell in row] for row in rows)
        csv.writer(lines, delimiter=SEPARATORS[kind], lineterminator="\n").writerows(cells)


def join_pieces(pieces: Sequence[Path], target: Path, kind: str, names: Sequence[str]) -> None:
    """Join pieces to one file, with a header if it is CSV or TSV. At most one piece is in memory at a time."""
    if kind == "parquet":
        with pq.ParquetWriter(target, pq.read_schema(pieces[0])) as writer:
            for piece in pieces:
                writer.write_table(pq.read_table(piece))
        return
    with target.open("w", encoding="utf-8", newline="") as joined:
        if kind in SEPARATORS:
            write_rows(joined, kind, names, [names])
        for piece in pieces:
            with piece.open(encoding="utf-8", newline="") as lines:
                joined.writelines(lines)
