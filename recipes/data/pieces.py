"""Prediction files that grow by pieces."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from recipes.data.formats import SEPARATORS
from recipes.runs.predictions import csv_writer, label_cell


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
        csv_writer(lines, SEPARATORS[kind]).writerows(cells)


def join_pieces(pieces: Sequence[Path], target: Path, kind: str, names: Sequence[str], encoding: str = "utf-8") -> None:
    """Join pieces to one file, with a header if it is CSV or TSV. At most one piece is in memory at a time.

    Args:
        pieces: to join, in this order.
        target: the file to write.
        kind: csv, tsv, jsonl or parquet.
        names: of the columns.
        encoding: of a text file: utf-8, or utf-8-sig with a byte order mark.
    """
    if kind == "parquet":
        with pq.ParquetWriter(target, pq.read_schema(pieces[0])) as writer:
            for piece in pieces:
                writer.write_table(pq.read_table(piece))
        return
    with target.open("w", encoding=encoding, newline="") as joined:
        if kind in SEPARATORS:
            write_rows(joined, kind, names, [names])
        for piece in pieces:
            with piece.open(encoding="utf-8", newline="") as lines:
                joined.writelines(lines)
