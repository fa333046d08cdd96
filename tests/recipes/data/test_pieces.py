"""Prediction files that are joined from pieces."""

import json
from pathlib import Path
from typing import Any

import pytest

from recipes.data.pieces import join_pieces, write_piece
from recipes.data.records import Record, records


def read(path: Path) -> list[Record]:
    return list(records(str(path), path.suffix[1:]))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("csv", ["a|b", "", "b"]), ("jsonl", [["a", "b"], [], ["b"]]), ("parquet", [["a", "b"], [], ["b"]])],
)
def test_multi_label_predictions(kind: str, expected: list[Any], tmp_path: Path) -> None:
    names = ["id", "prediction", "p_a", "p_b"]
    pieces = [[], [["0", ["a", "b"], 0.75, 0.5], ["1", [], 0.25, 0.0]], [["2", ["b"], 0.0, 1.0]]]
    paths = [tmp_path / f"{number}" for number in range(3)]
    for path, rows in zip(paths, pieces, strict=True):
        write_piece(path, kind, names, rows, multi_label=True)
    join_pieces(paths, tmp_path / f"all.{kind}", kind, names)
    assert [record.values["prediction"] for record in read(tmp_path / f"all.{kind}")] == expected


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_joined_pieces_have_all_rows_in_order(kind: str, tmp_path: Path) -> None:
    names = ["id", "prediction", "p_x"]
    pieces = [[["0", 'a,\t"b"', 0.25]], [], [["1", "c\nd", 0.5], ["2", "字", 0.75]]]
    paths = [tmp_path / f"{number}" for number in range(3)]
    for path, rows in zip(paths, pieces, strict=True):
        write_piece(path, kind, names, rows)
    target = tmp_path / f"all.{kind}"
    join_pieces(paths, target, kind, names)
    cells = [[str(each) for each in record.values.values()] for record in read(target)]
    assert cells == [[str(each) for each in row] for rows in pieces for row in rows]
    if kind == "jsonl":
        assert json.loads(target.read_text().splitlines()[2])["p_x"] == 0.75
