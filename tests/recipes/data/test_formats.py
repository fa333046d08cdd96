"""Files are opened by what is in them: gzip is detected by its first bytes."""

import gzip
import io
import sys

import pytest

from recipes.data.formats import open_bytes
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
