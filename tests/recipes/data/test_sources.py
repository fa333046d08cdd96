"""Files of every format, the hub, and the embedded data set."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from recipes.compose import reading
from recipes.compose.overrides import compose_config
from recipes.data.splits import read_splits
from tests.recipes.data.helpers import (
    HUB,
    ROWS,
    Write,
    all_rows_by_id,
    as_csv,
    as_jsonl,
    read,
    read_problems,
    write_file,
    write_parquet,
)


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.csv.gz", "a.tsv.gz", "a.jsonl.gz", "of.2024.csv"]
)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    splits = read(write_file(name, tmp_path))
    assert all_rows_by_id(splits) == {str(number): row for number, row in enumerate(ROWS)}
    assert splits.classes == ["neg", "pos"]
    assert not splits.multi_label
    assert splits.train.column_names == ["id", "source", "text", "text_pair", "label"]


def test_cells_of_a_csv_are_text_and_unchanged(write: Write) -> None:
    cells = ["NA", "null", "1e3", "007", "1.0", "true", " spaced ", "line\nbreak", "line\r\nbreak", 'say "so"', "a,b"]
    train = write("a.csv", as_csv([(cell, str(number % 2)) for number, cell in enumerate(cells * 3)]))
    assert [text for text, _ in (all_rows_by_id(read(train))[str(number)] for number in range(len(cells)))] == cells


def test_a_byte_order_mark_is_skipped(write: Write) -> None:
    for name in ("a.csv", "a.jsonl"):
        content = (
            as_csv(ROWS) if name == "a.csv" else as_jsonl([{"text": text, "label": label} for text, label in ROWS])
        )
        assert len(all_rows_by_id(read(write(name, "\ufeff" + content)))) == len(ROWS)


def test_windows_line_ends_and_empty_lines(write: Write) -> None:
    content = as_csv(ROWS).replace("\n", "\r\n") + "\r\n\r\n"
    assert all_rows_by_id(read(write("a.csv", content))) == {str(number): row for number, row in enumerate(ROWS)}


def test_an_empty_line_of_a_single_column_is_an_empty_text(write: Write) -> None:
    splits = read(write("a.csv", as_csv(ROWS)), test=write("test.csv", "text\none\n\nthree\n"))
    assert splits.test is not None
    assert splits.test["text"] == ["one", "", "three"]


def test_trailing_separators_make_a_column_without_a_name(write: Write) -> None:
    rows = [(*row, "") for row in ROWS]
    assert len(all_rows_by_id(read(write("a.csv", as_csv(rows, header=("text", "label", "")))))) == len(ROWS)


def test_all_missing_files_are_reported_together(write: Write, tmp_path: Path) -> None:
    write("train.csv", "")
    problems = read_problems(tmp_path / "trian.csv", test=tmp_path / "none" / "test.csv", extra={"hard": "hard.csv"})
    assert problems[0].endswith("trian.csv: there is no such file; did you mean train.csv? There are: train.csv.")
    assert f"test.csv: there is no such file; {tmp_path / 'none'} holds no data files; name another." in problems[1]
    assert problems[2].startswith("evaluate.extra.hard=hard.csv: there is no such file; ")
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "the file is empty; write column names and rows into it, or name another file."),
        ("a.csv", b"\n\n", "the file is empty; "),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "the file is empty; "),
        ("a.csv", b"text,label\n", "the file has no rows; write some into it, or name another file."),
        ("a.jsonl", b"", "the file has no rows; "),
        ("a.jsonl", b"\n\n", "the file has no rows; "),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "the file has no rows; "),
        ("a.jsonl", b'"text"\n', "line 1: not a JSON object; each record must be an object with "),
        ("a.jsonl", b'{"text": "a"}\n{"label": "cafe"}\n', "line 2: no text in 'text'; "),
        ("a.csv", b'text,label\nx,a\n"y,b\nz,c\n', "line 3: a quote is opened and never closed ("),
        ("a.csv", b"text,label\nwell, yes,a\nno,b\n", "line 2: 3 cells, but the header names 2; "),
        ("a.csv", b"text,label\nno,b\nwell, yes,a\n", "line 3: 3 cells, but the header names 2; "),
        ("a.csv", b"text,label,text\nx,a,y\n", "the header names 'text' twice; rename one."),
        ("a.csv.gz", gzip.compress(b"text,label\nx,a\n" * 999, mtime=0)[:-20], "the gzip file is cut off or damaged ("),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label\n', "line 2: not valid JSON ("),
        ("a.jsonl", b'{"text": "\\ud83d", "label": 1}\n', "line 1: 'text' holds \\ud83d without its other half, "),
        ("a.jsonl", b"{}\n", "line 1: no text in 'text'; "),
        ("a.json", b'[{"text": "a", "label": 1}\n', "the list of objects is not closed, so the file is "),
        ("a.parquet", b"text,label\nx,a\n", "cannot be read as Parquet (Parquet magic bytes not found in footer."),
        ("a.txt", b"text,label\nx,a\n", "the ending must be one of .csv, .tsv, .jsonl, .json, .parquet (.gz "),
    ],
)
def test_an_unreadable_file_is_reported_with_the_reason(name: str, content: bytes, reason: str, write: Write) -> None:
    path = write(name, content)
    (problem,) = read_problems(path)
    assert problem.startswith(f"data.train={path}: {reason}")


def test_the_ending_may_be_in_capitals_and_a_plain_file_may_be_called_gz(write: Write) -> None:
    for name in ("a.CSV", "b.csv.gz", "c.Csv.GZ"):
        assert len(all_rows_by_id(read(write(name, as_csv(ROWS))))) == len(ROWS)


def test_a_file_without_a_header_has_numbered_columns(write: Write) -> None:
    splits = read(
        write("a.tsv", "".join(f"{label}\t{text}\n" for text, label in ROWS)), header=False, text="2", label="1"
    )
    assert all_rows_by_id(splits) == {str(number): row for number, row in enumerate(ROWS)}


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("a.tsv", "so good\t1\nso bad\t0\n", "use data.header=false and numbers: data.text=1 data.label=2."),
        ("a.csv", "a film that I liked so much,pos\nx,neg\n", "use data.header=false and numbers: data.text=1 data"),
        ("a.csv", "text;label\nx;a\n", "Are the cells separated by ';'? In CSV it is ',': replace them."),
        ("a.json", '{"data": [{"text": "x", "label": "a"}]}', "If the rows are in 'data', write that list alone to a "),
    ],
)
def test_a_missing_column_is_explained(name: str, content: str, advice: str, write: Write) -> None:
    first, second = read_problems(write(name, content))
    assert first.startswith("data.text=text: train has no such column; ") and advice in first
    assert second.startswith("data.label=label: train has no such column; ") and advice in second


def test_another_separator_is_reported_before_quotes_that_it_breaks(write: Write) -> None:
    path = write("评论.csv", '评论;情感\n"好,很好";正面\n')
    assert read_problems(path, text="评论", label="情感") == (
        f"data.train={path}: Are the cells separated by ';'? In CSV it is ',': replace them.",
    )
    (first, _) = read_problems(write("全角.csv", "评论，情感\n好，正面\n"), text="评论", label="情感")
    assert "Are the cells separated by '，'? In CSV it is ',': replace them." in first


def test_names_in_full_width_letters_are_found(write: Write) -> None:
    path = write("a.csv", "ｔｅｘｔ,评论（内容）\n好,正面\n")
    first, second = read_problems(path, text="text", label="评论(内容)")
    assert "did you mean ｔｅｘｔ?" in first and "did you mean 评论（内容）?" in second


def test_blanks_around_column_names_are_noted(write: Write) -> None:
    train = write("a.csv", as_csv(ROWS, header=(" text ", "label")))
    notes = read(train).notes
    assert f"data.train={train}: the blanks around the column name ' text ' are not part of it." in notes


def test_another_encoding_is_noted(write: Write) -> None:
    rows = [("这部电影非常好看，强烈推荐给大家。", "pos"), ("酒店的房间太小，而且很脏。", "neg")] * 10
    splits = read(write("a.csv", as_csv(rows).encode("gb18030")))
    assert "a.csv is read as GB18030." in splits.notes
    assert set(all_rows_by_id(splits).values()) == set(rows)


def test_rows_inside_a_cell_are_refused(write: Write) -> None:
    rows = as_csv([("good", "pos"), ("bad", "neg")] * 5)
    train = write("a.csv", rows + '"fine,pos\nbad,neg\nof 15",pos\n' + rows)
    assert read_problems(train)[0].startswith(f"data.train={train}: line 12: a cell holds the row 'fine,pos'; ")


def test_a_column_that_is_not_used_may_change_its_type_late(write: Write) -> None:
    rows = [{"text": text, "label": label, "note": None} for text, label in ROWS * 100]
    train = write("a.jsonl", as_jsonl([*rows, {"text": "x", "label": "pos", "note": "late"}]))
    assert len(all_rows_by_id(read(train))) == len(rows) + 1


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, "a.parquet", text=pa.array([], pa.string()), label=pa.array([], pa.string()))
    assert (
        read_problems(path)[0] == f"data.train={path}: the file has no rows; write some into it, or name another file."
    )


def test_an_unknown_split_of_a_hub_data_set_is_refused(local_hub: Path) -> None:
    (problem,) = read_problems("trian", base=HUB, name=local_hub, text="sentence")
    assert problem.startswith(f"data.name={local_hub}: split trian cannot be loaded (")
    assert "data.train" in problem


def test_an_unreachable_hub_is_one_problem_per_split() -> None:
    problems = read_problems("train", base=HUB, name="owner/no-such-data-set", test="test")
    assert len(problems) == 2
    for problem, split in zip(problems, ("train", "test"), strict=True):
        assert problem.startswith(f"data.name=owner/no-such-data-set: split {split} cannot be loaded (")
        assert problem.endswith("or download it elsewhere and use data=files.")


@pytest.mark.slow
def test_the_embedded_data_set_has_twelve_classes_and_each_text_once() -> None:
    splits = read_splits(reading.read(compose_config([])[0]).data, {}, True)
    rows = all_rows_by_id(splits)
    assert len(splits.classes) == 12
    assert len(rows) > 2000
    assert len({text for text, _ in rows.values()}) == len(rows)


def test_line_ends_with_two_carriage_returns_are_refused(write: Write) -> None:
    path = write("a.csv", b"text,label\r\r\na,x\r\r\nb,y\r\r\n")
    assert "lines end with CR CR LF" in read_problems(path)[0]


def test_a_header_inside_the_data_is_refused(write: Write) -> None:
    path = write("a.csv", "text,label\na,x\ntext,label\nb,y\n")
    assert "line 3: it repeats the header" in read_problems(path)[0]


def test_a_folder_is_no_file(write: Write) -> None:
    folder = write("data/a.csv", "text,label\na,x\n").parent
    assert "this is a folder; name a file in it" in read_problems(folder)[0]
