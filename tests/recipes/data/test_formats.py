"""The format is in the ending of a file, and gzip in its first bytes."""

import gzip
import io
import sys

import pytest

from recipes.data.formats import format_of, open_bytes
from recipes.errors import UserError
from tests.recipes.data.helpers import Write

TEXT = b"text,label\na,b\n"


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("content", [TEXT, gzip.compress(TEXT, mtime=0)])
def test_gzip_is_detected_whatever_the_ending(name: str, content: bytes, write: Write) -> None:
    with open_bytes(write(name, content)) as lines:
        assert list(lines) == [b"text,label\n", b"a,b\n"]


def test_an_empty_file_has_no_lines(write: Write) -> None:
    with open_bytes(write("a.csv", b"")) as lines:
        assert list(lines) == []


def test_standard_input_may_be_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BufferedReader(io.BytesIO(gzip.compress(TEXT, mtime=0)))  # type: ignore[arg-type]

    monkeypatch.setattr(sys, "stdin", Input)
    with open_bytes(None) as lines:
        assert lines.read() == TEXT


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv.gz", "csv"),
        ("a.json", "jsonl"),
        ("-", "jsonl"),
        ("x.parquet", "parquet"),
        ("A.CSV", "csv"),
        ("of.2024.TSV.GZ", "tsv"),
    ],
)
def test_the_ending_decides_the_format_unless_requested(name: str, kind: str) -> None:
    assert format_of(name) == kind
    assert format_of(name, "tsv") == "tsv"


def test_unknown_endings_are_refused() -> None:
    with pytest.raises(UserError, match=r"a\.xls: the ending must be one of \.csv"):
        format_of("a.xls")
    for name in ("out.csv.gz", "a.csv.xls", "my.json.txt"):
        with pytest.raises(UserError, match="the ending must be one of"):
            format_of(name, gzipped=False)


def test_other_endings_are_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"\(\.gz may follow\)\. A text file with tabs between its cells is \.tsv\.$"):
        format_of("评论.txt")
    with pytest.raises(UserError, match=r"\. Save the sheet as CSV UTF-8\.$"):
        format_of("评论.XLSX")
    with pytest.raises(UserError, match=r"\(\.gz may follow\)\.$"):
        format_of("评论.doc")
