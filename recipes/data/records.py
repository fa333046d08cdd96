"""Records of a file of any size, read one by one: the one reader of training, predicting and the doctor.

A cell is None, a text, or a list of cells. A text is what stands in the file: the number 1e3 is "1e3". Only what is not
text in the file is written as text here: values of Parquet, with dates and times as in ISO 8601.

A record that cannot be read does not stop the reading: it comes with the reason in `Record.problem`.
"""

import codecs
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recipes.data.delimited import find_swallowed_row, is_quoted_tsv, read_rows, shorten
from recipes.data.encodings import explain_encoding, find_encoding, is_encoding, marked_encoding
from recipes.data.formats import SEPARATORS, STANDARD, FormatError, explain_gzip, open_bytes
from recipes.data.json_values import JsonText, Repeated
from recipes.data.paths import suggest_files
from recipes.errors import UserError, unreadable

ROWS_AT_ONCE = 1024
BYTES_AT_ONCE = 1 << 18


class Record(NamedTuple):
    """One record of a file."""

    number: int
    """Its index in the file, from 0."""
    values: Mapping[str, Any]
    """By column; empty if the record cannot be read."""
    problem: str = ""
    """Why it cannot be read."""
    line: int = 0
    """The line where it begins, from 1; 0 if it has no line of its own."""

    @property
    def position(self) -> str:
        """Where it stands in the file, for a message."""
        return f"line {self.line}" if self.line else f"record {self.number + 1}"


class Records(Iterator[Record]):
    """The records of a file in their order; see `records`."""

    def __init__(
        self, name: str, kind: str, used: Collection[str] | None, header: bool, encoding: str | None, title: str
    ) -> None:
        self.name, self.kind, self.used, self.header, self.title = name, kind, used, header, title
        self.encoding = encoding
        self.columns: list[str] = []
        """The names of the columns, once the first record is read; none for JSON, where each record has its own."""
        self.notes: list[str] = []
        """How the file is read, where a user may not expect it."""
        self.is_utf8 = True
        """Whether the text is UTF-8 without a byte order mark, once the first record is read."""
        self._records = self._read()

    def __next__(self) -> Record:
        return next(self._records)

    def names(self, first: Sequence[Record]) -> list[str]:
        """The names of the columns; of JSON those that the first records have."""
        return self.columns or list(dict.fromkeys(name for record in first for name in record.values))

    def advise(self, first: Sequence[Record]) -> str:
        """Say why a column may be missing, if the first records show it; a sentence after a blank, or nothing."""
        content = re.compile(r"[-+]?[\d.]+|.{41,}|.*[.!?。！？].*|(?:\S+\s+){4,}\S+", re.DOTALL)
        if self.kind in SEPARATORS and self.header and any(map(content.fullmatch, self.columns)):
            return " If the first row is no header, use data.header=false and numbers: data.text=1 data.label=2."
        if advice := self._advise_separator():
            return f" {advice}"
        for name, cell in first[0].values.items():
            if isinstance(cell, list) and cell and all(isinstance(each, dict) for each in cell):
                return f" If the rows are in {name!r}, write that list alone to a file: jq '.[\"{name}\"]'."
        return ""

    def _advise_separator(self) -> str:
        """Ask whether another separator is meant, where the header is one cell that holds one."""
        other = re.search(r"[,;\t|，；、]", self.columns[0]) if len(self.columns) == 1 else None
        if not other:
            return ""
        fitting = [f"name the file .{kind}" for kind, separator in SEPARATORS.items() if separator == other[0]]
        return (
            f"Are the cells separated by {other[0]!r}? In {self.kind.upper()} it is {SEPARATORS[self.kind]!r}: "
            f"{'or '.join(fitting) or 'replace them'}."
        )

    def find_swallowed_row(self, record: Record, label: str, labels: Collection[str]) -> str:
        """Explain that a cell of a record holds other rows, because of a wrong quote; empty if none does.

        Args:
            record: as read.
            label: the column with the label, which shows that a line is a row.
            labels: its values.
        """
        if self.kind not in SEPARATORS or label not in self.columns:
            return ""
        cells, separator = list(record.values.values()), SEPARATORS[self.kind]
        line = find_swallowed_row(cells, separator, self.columns.index(label), labels)
        if not line:
            return ""
        return f"a cell holds the row {shorten(line)!r}; close the quote before it. If it is a text, write JSONL"

    def _read(self) -> Iterator[Record]:
        try:
            if self.kind == "parquet":
                yield from self._read_parquet()
                return
            # A stream can be read only once, so it cannot be searched before.
            path = Path(self.name) if self.name != STANDARD else None
            encoding, is_quoted = self.encoding or "utf-8", None
            if path and path.is_file():
                encoding, note = find_encoding(path, self.encoding, self.used or ())
                self.notes += [note] if note else []
                if self.kind == "tsv":
                    with open_bytes(path) as raw, _read_lines(raw, encoding) as lines:
                        is_quoted = is_quoted_tsv(lines)
            with open_bytes(path) as raw:
                encoding = marked_encoding(raw) or encoding
                self.is_utf8 = encoding == "utf-8"
                is_table = self.kind in SEPARATORS
                yield from self._read_csv(raw, encoding, is_quoted) if is_table else _read_json(raw, encoding)
        except FormatError as error:
            # With a wrong separator, rows break the rules of quotes; then these are not the cause.
            reason = self._advise_separator() or str(error)
            raise UserError(f"{self.title}: {reason}") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{self.title}: {explain_gzip(error)}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{self.title}: {explain_encoding(error)}") from error
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(
                f"{self.title}: cannot be read as Parquet ({reason}); write it again, or as CSV or JSONL."
            ) from error
        except OSError as error:
            raise unreadable(self.title, error) from error

    def _read_csv(self, raw: IO[bytes], encoding: str, is_quoted: bool | None) -> Iterator[Record]:
        with _read_lines(raw, encoding) as lines:
            yield from self._read_rows(read_rows(lines, SEPARATORS[self.kind], is_quoted))

    def _read_rows(self, rows: Iterator[tuple[int, list[str]]]) -> Iterator[Record]:
        first = next(rows, None)
        if first is None:
            contents = "column names and rows" if self.header else "rows"
            raise FormatError(f"the file is empty; write {contents} into it, or name another file.")
        self.columns = self._name_columns(first[1])
        width = len(self.columns)
        if not self.header:
            yield Record(0, dict(zip(self.columns, first[1], strict=True)), "", first[0])
        for number, (line, cells) in enumerate(rows, 0 if self.header else 1):
            problem = "" if len(cells) == width else self._explain_width(len(cells))
            yield Record(number, dict(zip(self.columns, cells, strict=False)), problem, line)

    def _name_columns(self, cells: list[str]) -> list[str]:
        if not self.header:
            return [str(number) for number in range(1, len(cells) + 1)]
        names = [cell.strip() for cell in cells]
        if twice := [name for name, count in Counter(names).items() if name and count > 1]:
            raise FormatError(f"the header names {twice[0]!r} twice; rename one.")
        if spaced := [cell for cell in cells if cell != cell.strip() and cell.strip()]:
            self.notes.append(f"{self.title}: the blanks around the column name {spaced[0]!r} are not part of it.")
        return [name or f"column {number}" for number, name in enumerate(names, 1)]

    def _explain_width(self, count: int) -> str:
        expected = f"the header names {len(self.columns)}" if self.header else f"the first row has {len(self.columns)}"
        mark = "a line end" if count < len(self.columns) else "a tab" if self.kind == "tsv" else "the separator"
        return f"{count} cell{'s' * (count > 1)}, but {expected}; put quotes around a text that holds {mark}"

    def _read_parquet(self) -> Iterator[Record]:
        with pq.ParquetFile(self.name) as file:
            self.columns, number = file.schema_arrow.names, 0
            # Other columns may hold types that have no text.
            used = [name for name in self.columns if self.used is None or name in self.used]
            if twice := [name for name in used if used.count(name) > 1]:
                raise FormatError(f"there are two columns {twice[0]!r}; rename one.")
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=used):
                columns = [_parquet_cells(batch.column(name)) for name in used]
                for cells in zip(*columns, strict=True) if used else [()] * len(batch):
                    yield Record(number, dict(zip(used, cells, strict=True)))
                    number += 1


def records(
    name: str,
    kind: str,
    used: Collection[str] | None = None,
    header: bool = True,
    encoding: str | None = None,
    title: str | None = None,
) -> Records:
    """Read the records of a file, or of standard input, in their order.

    Args:
        name: of the file, or `-`.
        kind: csv, tsv, jsonl or parquet.
        used: columns whose cells are needed, None for all; of Parquet only these are read.
        header: whether the first row of CSV and TSV names the columns; otherwise their names are 1, 2 and so on.
        encoding: of a file that is not UTF-8, None: detected; of a stream, None: UTF-8.
        title: how messages call the file; its name, unless given.

    Raises:
        UserError: the file does not exist, or the file as such cannot be read.
    """
    title = title or name
    if name != STANDARD and Path(name).is_dir():
        raise UserError(f"{title}: this is a folder; name a file in it.")
    if name != STANDARD and not Path(name).exists():
        raise UserError(f"{title}: there is no such file; {suggest_files(Path(name))}")
    if encoding and not is_encoding(encoding):
        raise UserError(
            f"{title}: there is no encoding {encoding!r}; names of encodings are utf-8, utf-16, gb18030 (ANSI on "
            "Chinese Windows), big5, shift_jis, euc-kr, cp1252, cp1251 and others. Without a name it is detected."
        )
    if kind == "parquet" and name == STANDARD:
        raise UserError("-: Parquet cannot be read from standard input; give a file, or --format=csv or jsonl.")
    return Records(name, kind, used, header, encoding, title)


def _errors(encoding: str) -> str:
    return "surrogateescape" if encoding.startswith("utf-8") else "strict"


def _read_lines(raw: IO[bytes], encoding: str) -> io.TextIOWrapper:
    """Decode lines; bytes that are not UTF-8 become surrogates, so that only their own record is a bad one."""
    return io.TextIOWrapper(raw, encoding, _errors(encoding), newline=_line_end(raw, encoding))


def _line_end(raw: IO[bytes], encoding: str) -> str:
    """The character that ends the lines of a file: CR if it ends the first one without LF."""
    start = raw.peek(BYTES_AT_ONCE).decode(encoding, "replace")  # type: ignore[attr-defined]
    if re.match(r"[^\r\n]*\r\r\n", start):
        raise FormatError("lines end with CR CR LF; write the file again, in Python with open(..., newline='').")
    ends = re.search(r"[\r\n].?", start, re.DOTALL)
    return "\r" if ends and ends[0][0] == "\r" and ends[0] != "\r\n" else "\n"


def _read_json(raw: IO[bytes], encoding: str) -> Iterator[Record]:
    decoder = codecs.getincrementaldecoder(encoding)(_errors(encoding))

    def pieces() -> Iterator[str]:
        while piece := raw.read1(BYTES_AT_ONCE):  # type: ignore[attr-defined]
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)

    for number, (line, value, problem) in enumerate(JsonText(pieces())):
        if problem:
            yield Record(number, {}, problem, line)
        elif isinstance(value, Repeated):
            yield Record(number, value, "a key occurs twice; rename one", line)
        elif isinstance(value, dict):
            for name, cell in value.items():
                if cell is not None and type(cell) is not str:
                    value[name] = _json_cell(cell)
            yield Record(number, value, "", line)
        else:
            yield Record(number, {}, "not a JSON object; each record must be an object with the columns as keys", line)


def _json_cell(value: Any) -> Any:
    """Convert what is neither null nor text; an object stays, since no column may hold one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return [_json_cell(each) for each in value] if isinstance(value, list) else value


def _parquet_cells(column: pa.Array) -> Iterable[Any]:
    """Convert the values of a column to cells; structures stay, since no column may hold one."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _parquet_cells(column.dictionary_decode())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        values = iter(_parquet_cells(column.flatten()))
        lengths = pc.list_value_length(column).to_pylist()
        return [None if length is None else [next(values) for _ in range(length)] for length in lengths]
    if pa.types.is_nested(kind) or pa.types.is_null(kind) or _is_text(kind):
        return column.to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_floating(kind):
        # The shortest text that is the number in its own precision; NaN is how tables mark a missing number.
        numbers = column.to_numpy(zero_copy_only=False)
        valid = column.is_valid().to_pylist()
        return [
            str(number) if there and number == number else None for number, there in zip(numbers, valid, strict=True)
        ]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [value if value is None else value.decode(errors="surrogateescape") for value in column.to_pylist()]
    texts = pc.cast(column, pa.string()).to_pylist()
    if pa.types.is_temporal(kind) and not pa.types.is_duration(kind):
        return [text if text is None else _iso(text) for text in texts]
    return texts  # type: ignore[no-any-return]


def _is_text(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _iso(text: str) -> str:
    """Write a date or a time of Arrow as in ISO 8601: `T` in the middle, and no fraction of zeros."""
    return re.sub(r"\.(\d*?)0+(?=Z?$)", lambda match: f".{match[1]}" if match[1] else "", text.replace(" ", "T"))
