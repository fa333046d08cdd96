"""Records: each format read and written, what is wrong with bad ones, pieces that make a whole."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipes.data.records import Record, format_of, join_pieces, records, write_piece
from recipes.errors import UserError

Write = Callable[[str, str | bytes], Path]


def read(path: Path, kind: str | None = None) -> list[Record]:
    return list(records(str(path), format_of(str(path), kind)))


def test_csv(write: Write) -> None:
    text = '\ufeffid,text\n1,"a, ""b""\nc"\n\n2,NA\n3\n4,d,e\n'
    found = read(write("a.csv", text))
    assert [record.values for record in found[:2]] == [{"id": "1", "text": 'a, "b"\nc'}, {"id": "2", "text": "NA"}]
    assert [record.problem for record in found] == [
        "",
        "",
        "1 cells, and the header names 2",
        "3 cells, and the header names 2",
    ]
    assert [record.number for record in found] == [0, 1, 2, 3]


def test_tsv_and_gzip(write: Write) -> None:
    wanted = [Record(0, {"text": "a,b", "label": "x"})]
    assert read(write("a.tsv", "text\tlabel\na,b\tx\n")) == wanted
    assert read(write("b.tsv.gz", gzip.compress(b"text\tlabel\na,b\tx\n"))) == wanted


def test_jsonl(write: Write) -> None:
    found = read(write("a.jsonl", '{"text": "a", "n": 1}\n\n[1]\n{"text": \n{"text": "b"}'))
    assert [record.number for record in found] == [0, 1, 2, 3]
    assert found[0] == Record(0, {"text": "a", "n": 1}) and found[3].values == {"text": "b"}
    assert found[1].problem.startswith("no object") and found[2].problem.startswith("no JSON (")


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b"text\ngr\xfc\xdf\nfine\n"), ("a.jsonl", b'{"text": "gr\xfc"}\n{}')]
)
def test_bytes_that_are_no_utf8_spoil_their_own_row(name: str, content: bytes, write: Write) -> None:
    first, second = read(write(name, content))
    assert (first.problem, second.problem) == ("not UTF-8", "")


def test_parquet(tmp_path: Path) -> None:
    rows = [{"text": f"t{row}", "label": None} for row in range(2500)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert [record.values for record in found] == rows and found[-1].number == 2499
    (tmp_path / "b.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"b\.parquet: cannot be read as Parquet"):
        read(tmp_path / "b.parquet")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BufferedReader(io.BytesIO(b"text\na\n"))  # type: ignore[arg-type]

    monkeypatch.setattr(sys, "stdin", Input)
    assert list(records("-", "csv")) == [Record(0, {"text": "a"})]
    with pytest.raises(UserError, match="Parquet cannot be read from standard input"):
        records("-", "parquet")


@pytest.mark.parametrize(
    ("name", "kind"), [("a.csv.gz", "csv"), ("a.json", "jsonl"), ("-", "jsonl"), ("x.parquet", "parquet")]
)
def test_formats_by_ending(name: str, kind: str) -> None:
    assert format_of(name, None) == kind
    assert format_of(name, "tsv") == "tsv"


def test_of_one_column_an_empty_line_is_a_row(write: Write) -> None:
    assert [record.values for record in read(write("a.csv", "text\na\n\nb\n"))] == [
        {"text": "a"},
        {"text": ""},
        {"text": "b"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,label\na1,"x\nb1,y\n', "line 3 is no CSV"),
        ("text,label,text\na,b,c\n", "names 'text' twice"),
        ("", "it is empty"),
    ],
)
def test_a_csv_that_is_none(content: str, message: str, write: Write) -> None:
    with pytest.raises(UserError, match=message):
        read(write("a.csv", content))


def test_a_gzip_that_is_cut_off(write: Write) -> None:
    whole = gzip.compress(b'{"text": "a"}\n' * 1000)
    with pytest.raises(UserError, match="the gzip file is cut off or damaged"):
        read(write("a.jsonl.gz", whole[: len(whole) // 2]))


def test_what_no_file_can_hold_is_a_bad_row(write: Write) -> None:
    half, deep, fine = read(write("a.jsonl", '{"text": "a \\ud83d"}\n' + "[" * 200_000 + '\n{"text": "b"}\n'))
    assert half.problem == "not UTF-8" and deep.problem.startswith("no JSON") and fine.problem == ""


def test_a_long_cell_and_a_long_header(write: Write) -> None:
    (found,) = read(write("a.csv", f"text,{'x' * 200_000}\n{'y' * 400_000},1\n"))
    assert len(found.values["text"]) == 400_000


def test_what_cannot_be_read_at_all(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.xls: the ending must be one of \.csv"):
        format_of("a.xls", None)
    with pytest.raises(UserError, match="there is no such file"):
        records(str(tmp_path / "none.csv"), "csv")
    for name in ("out.csv.gz", "a.csv.xls", "my.json.txt"):
        with pytest.raises(UserError, match="the ending must be one of"):
            format_of(name, None, gzipped=False)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("csv", ["a|b", "", "b"]), ("jsonl", [["a", "b"], [], ["b"]]), ("parquet", [["a", "b"], [], ["b"]])],
)
def test_several_labels(kind: str, wanted: list[Any], tmp_path: Path) -> None:
    names = ["id", "prediction", "p_a", "p_b"]
    pieces = [[], [["0", ["a", "b"], 0.75, 0.5], ["1", [], 0.25, 0.0]], [["2", ["b"], 0.0, 1.0]]]
    paths = [tmp_path / f"{number}" for number in range(3)]
    for path, rows in zip(paths, pieces, strict=True):
        write_piece(path, kind, names, rows, multi_label=True)
    join_pieces(paths, tmp_path / f"all.{kind}", kind, names)
    assert [record.values["prediction"] for record in read(tmp_path / f"all.{kind}")] == wanted


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_pieces_make_the_whole(kind: str, tmp_path: Path) -> None:
    names = ["id", "prediction", "p_x"]
    pieces = [[["0", 'a,\t"b"', 0.25]], [], [["1", "c\nd", 0.5], ["2", "字", 0.75]]]
    paths = [tmp_path / f"{number}" for number in range(3)]
    for path, rows in zip(paths, pieces, strict=True):
        write_piece(path, kind, names, rows)
    target = tmp_path / f"all.{kind}"
    join_pieces(paths, target, kind, names)
    found = [[str(each) for each in record.values.values()] for record in read(target)]
    assert found == [[str(each) for each in row] for rows in pieces for row in rows]
    if kind == "jsonl":
        assert json.loads(target.read_text().splitlines()[2])["p_x"] == 0.75
