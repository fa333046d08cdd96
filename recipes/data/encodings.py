"""The encoding of a text file: UTF-8 first."""

import codecs
from typing import IO

# The longer marks first: that of UTF-16 is the beginning of one of UTF-32.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def marked_encoding(raw: IO[bytes]) -> str | None:
    """The encoding that a byte order mark at the beginning of a file names, if it has one."""
    start = raw.peek(4)  # type: ignore[attr-defined]
    return next((encoding for mark, encoding in MARKS if start.startswith(mark)), None)
