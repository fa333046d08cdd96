"""The file formats of data sets and of predictions."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

# By ending. A `.json` file is read like a `.jsonl` file.
FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
SEPARATORS = {"csv": ",", "tsv": "\t"}
GZIP_MAGIC = b"\x1f\x8b"


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
