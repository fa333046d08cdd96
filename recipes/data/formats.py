"""The file formats of data sets and of predictions."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from recipes.errors import UserError

# By ending, in small letters. A `.json` file is read like a `.jsonl` file.
FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
SEPARATORS = {"csv": ",", "tsv": "\t"}
# What people have in place of these, by ending.
ADVICE = {
    ".txt": " A text file with tabs between its cells is .tsv.",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), " Save the sheet as CSV UTF-8."),
}
GZIP_MAGIC = b"\x1f\x8b"
# The name that stands for standard input or output.
STANDARD = "-"


class FormatError(ValueError):
    """A file as such breaks the rules of its format; the message names the line."""


def format_of(name: str, requested: str | None = None, gzipped: bool = True) -> str:
    """The format of a file: as requested, or by its ending.

    Args:
        name: of the file, or `-`.
        requested: the format that the user asks for, if any.
        gzipped: whether `.gz` may follow the ending.

    Returns:
        csv, tsv, jsonl or parquet.

    Raises:
        UserError: the ending is unknown.
    """
    if requested:
        return requested
    if name == STANDARD:
        return "jsonl"
    path = Path(name)
    if gzipped and path.suffix.lower() == ".gz":
        path = path.with_suffix("")
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{name}: the ending must be one of {explain_endings(path.suffix, gzipped)}")
    return FORMATS[path.suffix.lower()]


def explain_endings(wrong: str, gzipped: bool = True) -> str:
    """The end of a message that lists the endings of files, with what to do about a wrong one."""
    return f"{', '.join(FORMATS)}{' (.gz may follow)' if gzipped else ''}.{ADVICE.get(wrong.lower(), '')}"


def explain_gzip(error: Exception) -> str:
    """The end of a message about a gzip file that cannot be decompressed."""
    return f"the gzip file is cut off or damaged ({error}); copy or compress it again."


@contextmanager
def open_bytes(path: Path | None) -> Iterator[IO[bytes]]:
    """Open a file for reading, and decompress it if it is gzip.

    The first two bytes decide, not the ending: files are often named `.gz` when they are plain, and the reverse.

    Args:
        path: of the file; None reads standard input.

    Raises:
        OSError: the file cannot be opened.
    """
    with sys.stdin.buffer if path is None else path.open("rb") as raw:
        is_gzip = raw.peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)] == GZIP_MAGIC  # type: ignore[union-attr]
        if not is_gzip:
            yield raw
            return
        with cast(IO[bytes], gzip.open(raw)) as decompressed:
            yield decompressed
