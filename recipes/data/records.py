"""Records of a file of any size, one by one, with what is wrong with the bad ones; and files that grow by pieces."""

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

from recipes.errors import UserError
from recipes.runs.folder import label_cell

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
SEPARATORS = {"csv": ",", "tsv": "\t"}
STANDARD = "-"
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Record:
    """One record of a file."""

    number: int
    """Its place, from 0 on."""
    values: Mapping[str, Any]
    """By column; empty where it cannot be read."""
    problem: str = ""
    """Why it cannot be read."""


def format_of(name: str, told: str | None, gzipped: bool = True) -> str:
    """The format of a file, by its ending unless it is told.

    Args:
        name: of the file, or `-`.
        told: the format, if the user tells it.
        gzipped: whether `.gz` may follow the ending.

    Raises:
        UserError: the ending is none that is known.
    """
    if told:
        return told
    if name == STANDARD:
        return "jsonl"
    path = Path(name.removesuffix(".gz") if gzipped else name)
    if path.suffix not in FORMATS:
        also = " (.gz may follow)" if gzipped else ""
        raise UserError(f"{name}: the ending must be one of {', '.join(FORMATS)}{also}.")
    return FORMATS[path.suffix]


def records(name: str, kind: str) -> Iterator[Record]:
    """The records of a file, or of standard input, in their order.

    Raises:
        UserError: the file is not there, or cannot be read as a whole.
    """
    if name != STANDARD and (not Path(name).exists() or Path(name).is_dir()):
        raise UserError(f"{name}: there is no such file.")
    if kind == "parquet":
        if name == STANDARD:
            raise UserError("-: Parquet cannot be read from standard input; give a file, or --format=csv or jsonl.")
        return _of_parquet(Path(name))
    return _of_csv(name, SEPARATORS[kind]) if kind in SEPARATORS else _of_json(name)


def _lines(name: str) -> Iterator[str]:
    """Lines of text; bytes that are no UTF-8 stay visible, and make their record a bad one."""
    with sys.stdin.buffer if name == STANDARD else Path(name).open("rb") as raw:
        packed = raw.peek(2)[:2] == b"\x1f\x8b"  # type: ignore[union-attr]
        with io.TextIOWrapper(gzip.open(raw) if packed else raw, "utf-8-sig", "surrogateescape", newline="") as lines:
            try:
                yield from lines
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise UserError(f"{name}: the gzip file is cut off or damaged ({error}).") from error


def _of_csv(name: str, separator: str) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(_lines(name), delimiter=separator, strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise UserError(f"{name}: it is empty; its first line must name the columns.")
        if twice := [column for column, count in Counter(header).items() if count > 1]:
            raise UserError(f"{name}: the header names {twice[0]!r} twice.")
        # Of a table with one column an empty line is a row, as it is in training.
        rows = (row or [""] for row in reader if row or len(header) == 1)
        for number, cells in enumerate(rows):
            problem = "" if len(cells) == len(header) else f"{len(cells)} cells, and the header names {len(header)}"
            yield Record(number, dict(zip(header, cells, strict=False)), problem or _not_text(cells))
    except csv.Error as error:
        raise UserError(
            f"{name}: line {reader.line_num} is no CSV ({error}): a quote inside a quoted cell is written twice, and "
            "each that is opened must be closed."
        ) from error


def _of_json(name: str) -> Iterator[Record]:
    for number, line in enumerate(line for line in _lines(name) if line.strip()):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Record(number, {}, f"no JSON ({error})")
            continue
        if isinstance(values, dict):
            yield Record(number, values, _not_text(values.values()))
        else:
            yield Record(number, {}, "no object; each line must be one, with the columns' names")


def _of_parquet(path: Path) -> Iterator[Record]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(ROWS_AT_ONCE):
                for values in batch.to_pylist():
                    yield Record(number, values)
                    number += 1
    except pa.ArrowException as error:
        raise UserError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')}).") from error


def _not_text(cells: Iterable[Any]) -> str:
    """What is wrong with words that no file can hold: bytes of another encoding, or half a character."""
    try:
        "".join(cell for cell in cells if isinstance(cell, str)).encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    return ""


def write_piece(
    path: Path, kind: str, names: Sequence[str], rows: Sequence[Sequence[Any]], multi_label: bool = False
) -> None:
    """Write some rows, as a piece that `join_pieces` takes: without a header.

    Args:
        path: of the piece.
        kind: csv, tsv, jsonl or parquet.
        names: of the columns: id, prediction, and a number for each class.
        rows: their cells.
        multi_label: whether a prediction is a list.
    """
    if kind == "parquet":
        kinds = {"prediction": pa.list_(pa.string()) if multi_label else pa.string(), "id": pa.string()}
        schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in names])
        pq.write_table(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema), path)
        return
    with path.open("w", encoding="utf-8", newline="") as lines:
        write_rows(lines, kind, names, rows)


def write_rows(lines: IO[str], kind: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write some rows as text; where cells hold no lists, as `predictions/<split>.csv` has them."""
    if kind == "jsonl":
        lines.writelines(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
    else:
        cells = ([label_cell(cell) if isinstance(cell, list) else cell for cell in row] for row in rows)
        csv.writer(lines, delimiter=SEPARATORS[kind], lineterminator="\n").writerows(cells)


def join_pieces(pieces: Sequence[Path], target: Path, kind: str, names: Sequence[str]) -> None:
    """Make one file of pieces, in the memory of one of them."""
    if kind == "parquet":
        with pq.ParquetWriter(target, pq.read_schema(pieces[0])) as writer:
            for piece in pieces:
                writer.write_table(pq.read_table(piece))
        return
    with target.open("w", encoding="utf-8", newline="") as whole:
        if kind in SEPARATORS:
            write_rows(whole, kind, names, [names])
        for piece in pieces:
            with piece.open(encoding="utf-8", newline="") as lines:
                whole.writelines(lines)
