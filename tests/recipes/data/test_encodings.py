"""The encoding of a file."""

import codecs
import io

import pytest

from recipes.data.encodings import marked_encoding


@pytest.mark.parametrize(
    ("start", "encoding"),
    [
        (b"", None),
        (b"a,b", None),
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE + b"a\0", "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
    ],
)
def test_a_byte_order_mark_names_the_encoding(start: bytes, encoding: str | None) -> None:
    assert marked_encoding(io.BufferedReader(io.BytesIO(start))) == encoding  # type: ignore[arg-type]
