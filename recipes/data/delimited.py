"""Rows of CSV and TSV text.

In CSV a cell that begins with a quote ends with one, and a quote inside it is doubled; any other quote is a character.

In TSV a quote is a character, since most programs write TSV without quoting, unless the file shows that it is quoted:

- All names of the header are quoted, or a cell is quoted that had to be. It begins and ends with a quote, each quote
  inside is doubled, and it is empty or holds a tab, a line end or a doubled quote. Excel also quotes cells with commas.
- A cell that begins with a quote and breaks these rules shows that the file is not quoted.

A file is searched for this before it is read. A stream cannot be: it is refused if the quotes of earlier rows turn out
to be of the other kind. Lines that can be read in both ways are refused if nothing shows which is right. So no line is
taken for the inside of a cell in silence.
"""

import csv
import re
import sys
from collections.abc import Collection, Iterator, Sequence

from recipes.data.formats import FormatError

TAB = "\t"
# The whole of a quoted cell: quotes inside are doubled.
QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
LINE_END = re.compile(r"\r\n|\n|\r")
BEGINS_QUOTED = re.compile(r'(?:^|\t)"')
# Characters that no file holds stand for CR and LF.
HIDDEN = {ord("\r"): "\ud800", ord("\n"): "\ud801"}
RESTORED = {ord(hidden): chr(mark) for mark, hidden in HIDDEN.items()}
# A quote that stays open for more lines, the last of which is a row by itself, is a character.
MOST_LINES = 1000


class _Lines(Iterator[str]):
    """Lines of text that can be put back, with the number of the last one.

    A CR or LF that does not end its line is hidden, since the package csv would take it for a line end; some programs
    write them without quotes.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._waiting = lines, list[str]()
        self.number = 0
        # The lines of the current row, to find its faults.
        self.of_row = list[str]()
        self.has_hidden = False

    def __next__(self) -> str:
        line = self._waiting.pop() if self._waiting else self._hide(next(self._lines))
        self.number += 1
        self.of_row.append(line)
        return line

    def _hide(self, line: str) -> str:
        body = cut_line_end(line)
        if "\r" not in body and "\n" not in body:
            return line
        self.has_hidden = True
        return body.translate(HIDDEN) + line[len(body) :]

    def restore(self, cells: list[str]) -> list[str]:
        """Undo what is hidden in cells."""
        return [cell.translate(RESTORED) for cell in cells] if self.has_hidden else cells

    def put_back(self, count: int) -> None:
        """Put the last lines of the current row back."""
        for _ in range(count):
            self._waiting.append(self.of_row.pop())
            self.number -= 1


def cut_line_end(line: str) -> str:
    """A line without its CRLF, LF or CR."""
    return line[:-2] if line.endswith("\r\n") else line[:-1] if line.endswith(("\n", "\r")) else line


def read_rows(lines: Iterator[str], separator: str, is_quoted: bool | None = None) -> Iterator[tuple[int, list[str]]]:
    """Read rows, the header included.

    An empty line is a row only in a table with one column, where it is an empty cell.

    Args:
        lines: of text, each with its line end; other CR and LF inside them are characters.
        separator: of cells.
        is_quoted: of TSV, whether cells are quoted; None: as the rows show.

    Yields:
        The number of the row's first line, from 1, and its cells.

    Raises:
        FormatError: a quoted cell is not closed, text follows its closing quote, or rows can be read in two ways.
    """
    source, names = _begin(lines, separator)
    width = 0
    if separator != TAB or is_quoted or all(map(QUOTED.fullmatch, names)):
        rows = _read_quoted(source, separator)
    else:
        rows = _read_tsv(source, len(names), is_quoted)
    for line, cells in rows:
        width = width or len(cells)
        # A line of blanks is empty; in a table with one column it is a text.
        if width == 1 or len(cells) > 1 or (cells and cells[0].strip()):
            yield line, source.restore(cells) or [""]


def is_quoted_tsv(lines: Iterator[str]) -> bool | None:
    """Whether the cells of a TSV file are quoted where they have to be; None if it does not show."""
    source, names = _begin(lines, TAB)
    # Cells with a comma that Excel would have quoted, and cells in quotes that it would not.
    has_enclosed, is_like_excel = False, True
    for line in source:
        if BEGINS_QUOTED.search(line):
            cells = _join_lines(source, len(names))
            if cells is None:
                return False
            try:
                if len(cells) == len(names) and _has_to_be_quoted(source.of_row, source.number, len(names)):
                    return True
            except FormatError:
                pass  # this row does not show it
            source.put_back(len(source.of_row) - 1)
        may_be_excel = is_like_excel and ("," in line or '"' in line)
        for cell in cut_line_end(line).split(TAB) if may_be_excel else ():
            is_enclosed = QUOTED.fullmatch(cell) is not None
            has_enclosed |= is_enclosed
            is_like_excel &= is_enclosed == ("," in cell)
        source.of_row.clear()
    return True if has_enclosed and is_like_excel else None


def _begin(lines: Iterator[str], separator: str) -> tuple[_Lines, list[str]]:
    """Go to the first line that is not empty, and split it without regard to quotes."""
    csv.field_size_limit(sys.maxsize)
    source = _Lines(lines)
    header = next((line for line in source if line.strip()), "")
    source.put_back(1 if header else 0)
    source.of_row.clear()
    return source, cut_line_end(header).split(separator)


def _read_quoted(source: _Lines, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Read rows whose cells may be quoted, also over more than one line."""
    reader = csv.reader(source, delimiter=separator, strict=True)
    while True:
        source.of_row.clear()
        first = source.number + 1
        try:
            cells = next(reader, None)
        except csv.Error:
            raise FormatError(_explain_fault("".join(source.of_row), first, separator)) from None
        if cells is None:
            return
        yield first, cells


def _read_tsv(source: _Lines, width: int, is_quoted: bool | None) -> Iterator[tuple[int, list[str]]]:
    """Read rows of TSV, which may be quoted or not.

    Args:
        source: of the lines.
        width: cells of a row.
        is_quoted: whether they are; None: as the rows show.

    Raises:
        FormatError: the quotes can be read in two ways.
    """
    # The first lines with a cell that had to be quoted, and with one in quotes that need not be.
    quoted_line = enclosed_line = 0
    while True:
        source.of_row.clear()
        line, first = next(source, None), source.number
        if line is None:
            return
        cells = cut_line_end(line).split(TAB)
        if is_quoted is not False and BEGINS_QUOTED.search(line):
            unquoted = _join_lines(source, width)
            if unquoted is None:
                if is_quoted:
                    raise FormatError(
                        f"line {first}: a quote is opened and not closed, but line {quoted_line} has a quoted cell; "
                        "close it, or write the file as CSV or JSONL."
                    )
                is_quoted = False
            elif is_quoted:
                cells = unquoted
            elif len(unquoted) == width:
                if _has_to_be_quoted(source.of_row, first, width):
                    if enclosed_line:
                        raise FormatError(
                            f"line {first} has a quoted cell, but the quotes in line {enclosed_line} may be "
                            "characters; write the file as CSV or JSONL."
                        )
                    is_quoted, quoted_line, cells = True, first, unquoted
                else:
                    enclosed_line = enclosed_line or first
            else:
                source.put_back(len(source.of_row) - 1)
        yield first, cells


def _join_lines(source: _Lines, width: int) -> list[str] | None:
    """Read the current line as a row with quoted cells, and further lines as long as a quote is open.

    Returns:
        The cells; None if the quotes break the rules, and then only the current line is read.
    """

    def row_lines() -> Iterator[str]:
        yield source.of_row[0]
        for line in source:
            yield line
            if len(source.of_row) > MOST_LINES and line.count(TAB) + 1 == width:
                return

    try:
        return next(csv.reader(row_lines(), delimiter=TAB, strict=True))
    except csv.Error:
        source.put_back(len(source.of_row) - 1)
        return None


def _has_to_be_quoted(lines: Sequence[str], first: int, width: int) -> bool:
    """Whether lines that can be read as one row with quoted cells cannot be read otherwise.

    Args:
        lines: of the row.
        first: the number of the first one.
        width: cells of a row.

    Raises:
        FormatError: they may be more rows as well.
    """
    are_rows = [line.count(TAB) + 1 == width for line in lines]
    if len(lines) == 1:
        cells = cut_line_end(lines[0]).split(TAB)
        # An empty cell is written as two quotes where the line would be empty.
        return not are_rows[0] or cells == ['""'] or any(cell[:1] == '"' and '""' in cell[1:-1] for cell in cells)
    if all(are_rows) or any(are_rows[1:-1]):
        raise FormatError(
            f"lines {first} to {first + len(lines) - 1} are one row with a quoted cell, or {len(lines)} rows; write "
            "the file as CSV or JSONL."
        )
    return True


def _explain_fault(row: str, first: int, separator: str) -> str:
    """Explain what is wrong with the quotes of a row.

    Args:
        row: its text; all the rest of the file if a quote is never closed.
        first: the number of its first line.
        separator: of cells.
    """
    cell = re.compile(rf'(?:{QUOTED.pattern}|[^"{separator}\r\n][^{separator}\r\n]*+|)(?:{separator}|\r\n|\n|\r|$)')
    end = 0
    while (match := cell.match(row, end)) and match.end() > end:
        end = match.end()
    line = first + len(LINE_END.findall(row[:end]))
    if QUOTED.match(row, end):
        return (
            f"line {line}: text follows the closing quote of a cell ({shorten(row[end:])}); put quotes around the "
            "whole cell, and double each quote inside it."
        )
    return (
        f"line {line}: a quote is opened and never closed ({shorten(row[end:])}); close it. A text that begins with a "
        "quote stands in quotes, and the quote is doubled."
    )


def shorten(text: str) -> str:
    """The beginning of a text, for a message."""
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= 40 else f"{line[:40]}..."


def find_swallowed_row(cells: Sequence[str], separator: str, column: int, values: Collection[str]) -> str:
    """Find a cell whose lines are all rows: a quote was opened by mistake, and closed by another one.

    Args:
        cells: of a row.
        separator: of cells.
        column: index of a column with few values, which shows that a line is a row.
        values: those of it.

    Returns:
        A line that is a row; empty if there is none.
    """
    for start, cell in enumerate(cells):
        if "\n" not in cell and "\r" not in cell:
            continue
        lines = LINE_END.split(cell)
        # The first line is the end of a row, and the last one the beginning of a row.
        spans = [(start, len(cells)), *[(0, len(cells))] * (len(lines) - 2), (0, start + 1)]
        rows = [line.split(separator) for line in lines]
        if all(len(row) == end - begin for row, (begin, end) in zip(rows, spans, strict=True)):
            row_values = [
                (line, row[column - begin].strip())
                for line, row, (begin, end) in zip(lines, rows, spans, strict=True)
                if begin <= column < end
            ]
            if row_values and all(value in values for _, value in row_values):
                return row_values[0][0]
    return ""
