"""Records: every format gives the same cells, and a bad record is only its own problem."""

import datetime
import decimal
import gzip
import io
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipes.data.formats import format_of
from recipes.data.records import Record, records
from recipes.errors import UserError
from tests.recipes.data.helpers import Write, write_parquet


def read(path: Path, **options: Any) -> list[Record]:
    return list(records(str(path), format_of(str(path)), **options))


def cells(path: Path, **options: Any) -> list[dict[str, Any]]:
    result = read(path, **options)
    assert not any(record.problem for record in result)
    return [dict(record.values) for record in result]


def test_csv(write: Write) -> None:
    text = '\ufeffid,text\n1,"a, ""b""\nc"\n\n2,NA\n3\n4,d,e\n'
    result = read(write("a.csv", text))
    assert [record.values for record in result[:2]] == [{"id": "1", "text": 'a, "b"\nc'}, {"id": "2", "text": "NA"}]
    assert [record.problem for record in result] == [
        "",
        "",
        "1 cell, but the header names 2; put quotes around a text that holds a line end",
        "3 cells, but the header names 2; put quotes around a text that holds the separator",
    ]
    assert [(record.number, record.line) for record in result] == [(0, 2), (1, 5), (2, 6), (3, 7)]


def test_tsv_and_gzip(write: Write) -> None:
    expected = [Record(0, {"text": "a,b", "label": "x"}, line=2)]
    assert read(write("a.tsv", "text\tlabel\na,b\tx\n")) == expected
    assert read(write("b.tsv.gz", gzip.compress(b"text\tlabel\na,b\tx\n"))) == expected


def test_jsonl(write: Write) -> None:
    result = read(write("a.jsonl", '{"text": "a", "n": 1}\n\n[1]\n{"text": \n{"text": "b"}'))
    assert [(record.number, record.line) for record in result] == [(0, 1), (1, 3), (2, 4), (3, 5)]
    assert result[0].values == {"text": "a", "n": "1"} and result[3].values == {"text": "b"}
    assert result[1].problem.startswith("not a JSON object") and result[2].problem.startswith("not valid JSON (")


def test_a_json_value_is_the_text_that_stands_in_the_file(write: Write) -> None:
    numbers = ["1.0", "0.10", "1e3", "-0", "12345678901234567890123", "1E400"]
    lines = [
        f'{{"a": {number}}}\n' for number in [*numbers, "true", "false", '"007"', '"null"', "null", "NaN", '[1.0, "x"]']
    ]
    expected = [*numbers, "true", "false", "007", "null", None, None, ["1.0", "x"]]
    assert [each["a"] for each in cells(write("a.jsonl", "".join(lines)))] == expected


def test_a_key_that_occurs_twice_makes_a_bad_record(write: Write) -> None:
    first, second = read(write("a.jsonl", '{"text": "a", "text": "b"}\n{"text": "c", "x": {"y": 1, "y": 2}}\n'))
    assert (first.problem, second.problem) == ("a key occurs twice; rename one", "")


def test_parquet(tmp_path: Path) -> None:
    rows = [{"text": f"t{row}", "label": None} for row in range(2500)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    result = read(tmp_path / "a.parquet")
    assert [record.values for record in result] == rows and result[-1].number == 2499
    assert (result[3].line, result[3].position) == (0, "record 4")
    (tmp_path / "b.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"b\.parquet: cannot be read as Parquet"):
        read(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([7, None]), ["7", None]),
        (pa.array([1.0, 0.1, 1e20, float("nan"), None]), ["1.0", "0.1", "1e+20", None, None]),
        (pa.array([0.1, 3.0], pa.float32()), ["0.1", "3.0"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([datetime.date(2020, 1, 2)]), ["2020-01-02"]),
        (pa.array([datetime.datetime(2020, 1, 2, 3, 4)], pa.timestamp("ns")), ["2020-01-02T03:04:00"]),
        (
            pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5, 600000)], pa.timestamp("us", "UTC")),
            ["2020-01-02T03:04:05.6Z"],
        ),
        (pa.array([decimal.Decimal("1.10")]), ["1.10"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([b"a", b"\xff"]), ["a", "\udcff"]),
        (pa.array([[1.0], [], None, [0.5, 2]]), [["1.0"], [], None, ["0.5", "2.0"]]),
        (pa.array([[["a"]]]), [[["a"]]]),
        (pa.array([None]), [None]),
        (pa.array([{"a": 1}]), [{"a": 1}]),
    ],
)
def test_values_of_parquet_become_text(column: pa.Array, expected: list[Any], tmp_path: Path) -> None:
    assert [each["c"] for each in cells(write_parquet(tmp_path, "a.parquet", c=column))] == expected


def test_only_the_used_columns_of_parquet_are_read(tmp_path: Path) -> None:
    reader = records(str(write_parquet(tmp_path, "a.parquet", a=["x", "y"], b=[1, 2])), "parquet", used=["b", "z"])
    assert [record.values for record in reader] == [{"b": "1"}, {"b": "2"}]
    assert reader.columns == ["a", "b"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BufferedReader(io.BytesIO(b"text\na\n"))  # type: ignore[arg-type]

    monkeypatch.setattr(sys, "stdin", Input)
    assert [record.values for record in records("-", "csv")] == [{"text": "a"}]
    with pytest.raises(UserError, match="Parquet cannot be read from standard input"):
        records("-", "parquet")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        records(str(tmp_path / "none.csv"), "csv")


def test_an_empty_line_of_a_single_column_is_a_row(write: Write) -> None:
    assert [each["text"] for each in cells(write("a.csv", "text\na\n\n  \nb\n"))] == ["a", "", "  ", "b"]


def test_a_line_of_blanks_is_no_row_of_a_table(write: Write) -> None:
    assert [each["text"] for each in cells(write("a.csv", "\n \ntext,label\na,x\n \t\n\nb,y\n  \n"))] == ["a", "b"]


def test_blanks_around_the_names_of_columns_are_not_part_of_them(write: Write) -> None:
    reader = records(str(write("a.csv", " text ,label\n a ,x\n")), "csv")
    assert [record.values for record in reader] == [{"text": " a ", "label": "x"}]
    assert reader.notes[0].endswith("a.csv: the blanks around the column name ' text ' are not part of it.")


def test_without_a_header_columns_have_numbers(write: Write) -> None:
    result = read(write("a.tsv", "x\tgood\ny\tbad\nz\n"), header=False)
    assert [record.values for record in result[:2]] == [{"1": "x", "2": "good"}, {"1": "y", "2": "bad"}]
    assert result[2].problem.startswith("1 cell, but the first row has 2; ")
    assert [(record.number, record.line) for record in result] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,label\na1,"x\nb1,y\n', "line 2: a quote is opened and never closed"),
        ("text,label,text\na,b,c\n", "names 'text' twice"),
        ("text, text\na,b\n", "names 'text' twice"),
        ("", "the file is empty"),
    ],
)
def test_an_invalid_csv_is_refused(content: str, message: str, write: Write) -> None:
    with pytest.raises(UserError, match=message):
        read(write("a.csv", content))


def test_a_truncated_gzip_is_refused(write: Write) -> None:
    content = gzip.compress(b'{"text": "a"}\n' * 1000)
    with pytest.raises(UserError, match="the gzip file is cut off or damaged"):
        read(write("a.jsonl.gz", content[: len(content) // 2]))


def test_a_deep_value_is_a_bad_record(write: Write) -> None:
    deep, good = read(write("a.jsonl", '{"a": ' + "[" * 200_000 + '\n{"text": "b"}\n'))
    assert deep.problem == "not valid JSON (it is nested too deeply); correct it" and good.problem == ""


def test_cells_and_headers_may_be_long(write: Write) -> None:
    (record,) = read(write("a.csv", f"text,{'x' * 200_000}\n{'y' * 400_000},1\n"))
    assert len(record.values["text"]) == 400_000


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_byte_order_mark_names_the_encoding(name: str, encoding: str, write: Write) -> None:
    text = "text\n字é\n" if name == "a.csv" else '{"text": "字é"}\n'
    assert cells(write(name, text.encode(encoding))) == [{"text": "字é"}]


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\x00"])
def test_only_cr_and_lf_end_a_line(separator: str, write: Write) -> None:
    text = f"a{separator}b"
    for name, content in (("a.csv", f"text\n{text}\n"), ("a.tsv", f"text\n{text}\n")):
        assert cells(write(name, content)) == [{"text": text}]
    if separator > "\x1f":
        assert cells(write("a.jsonl", f'{{"text": "{text}"}}\n')) == [{"text": text}]


def test_a_tsv_file_of_excel_is_unquoted_from_its_first_row(write: Write) -> None:
    text = 'text\tlabel\r\n"so, so"\tx\r\n"say ""so"""\ty\r\n"two\nlines"\tx\r\n'
    assert [each["text"] for each in cells(write("a.tsv", text))] == ["so, so", 'say "so"', "two\nlines"]
    plain = 'text\tlabel\n"so, so"\tx\n"so" so\ty\n"open\tx\nof 15"\tx\n'
    assert [each["text"] for each in cells(write("b.tsv", plain))] == ['"so, so"', '"so" so', '"open', 'of 15"']
