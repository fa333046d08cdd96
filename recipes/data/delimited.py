"""Rows of CSV and TSV text.

In CSV a cell that begins with a quote ends with one, and a quote inside it is doubled; any other quote is a character.

In TSV a quote is a character, since most programs write TSV without quoting. A cell is unquoted only where a program
that quotes must have quoted it. It begins and ends with a quote, each quote inside is doubled, and it is empty or holds
a tab, a line end or a doubled quote. A line with as many cells as the header is never taken for the inside of a cell.
Where all names of the header are quoted, TSV is read like CSV.
"""

import csv
import re
import sys
from collections.abc import Iterator

from recipes.data.formats import FormatError

TAB = "\t"
# The whole of a quoted cell: quotes inside are doubled.
QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
# A quoted cell that is not closed yet.
OPEN = re.compile(r'"[^"]*+(?:""[^"]*+)*+')


class _Lines(Iterator[str]):
    """Lines of text that can be put back, with the number of the last one."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._waiting = lines, list[str]()
        self.number = 0
        # The lines of the current row, to find its faults.
        self.of_row = list[str]()

    def __next__(self) -> str:
        line = self._waiting.pop() if self._waiting else next(self._lines)
        self.number += 1
        self.of_row.append(line)
        return line

    def put_back(self, count: int) -> None:
        """Put the last lines of the current row back."""
        for _ in range(count):
            self._waiting.append(self.of_row.pop())
            self.number -= 1


def read_rows(lines: Iterator[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Read rows, the header included.

    An empty line is a row only in a table with one column, where it is an empty cell.

    Args:
        lines: of text, each with its line end.
        separator: of cells.

    Yields:
        The number of the row's first line, from 1, and its cells.

    Raises:
        FormatError: a quoted cell is not closed, or text follows its closing quote.
    """
    csv.field_size_limit(sys.maxsize)
    source = _Lines(lines)
    header = next((line for line in source if line.strip()), "")
    source.put_back(1 if header else 0)
    names = header.rstrip("\r\n").split(separator)
    is_plain = separator == TAB and not all(map(QUOTED.fullmatch, names))
    width = 0
    for line, cells in _read_plain(source, len(names)) if is_plain else _read_quoted(source, separator):
        width = width or len(cells)
        # A line of blanks is empty; in a table with one column it is a text.
        if width == 1 or len(cells) > 1 or (cells and cells[0].strip()):
            yield line, cells or [""]


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


def _read_plain(source: _Lines, width: int) -> Iterator[tuple[int, list[str]]]:
    """Read rows of TSV in which most quotes are characters."""
    while True:
        source.of_row.clear()
        line, first = next(source, None), source.number
        if line is None:
            return
        cells = line.rstrip("\r\n").split(TAB)
        if '"' in line:
            if len(cells) != width or OPEN.fullmatch(cells[-1]):
                if joined := _join_lines(source, width, is_row=len(cells) == width):
                    yield first, joined
                    continue
            cells = list(map(_unquote, cells))
        yield first, cells


def _unquote(cell: str) -> str:
    """Take the quotes off a cell that had to be quoted; a cell in other quotes has them as characters."""
    if cell == '""' or ('""' in cell[1:-1] and QUOTED.fullmatch(cell)):
        return cell[1:-1].replace('""', '"')
    return cell


def _join_lines(source: _Lines, width: int, is_row: bool) -> list[str] | None:
    """Read the current line and those after it as one row with quoted cells.

    Args:
        source: of the lines; the current one has been read.
        width: cells of a row.
        is_row: whether the current line has as many cells by itself.

    Returns:
        The cells; None if the line stands alone.

    Raises:
        FormatError: the table has one column, so that the lines may be one text or more.
    """

    def row_lines() -> Iterator[str]:
        yield source.of_row[0]
        for line in source:
            yield line
            closes = '"' in line.replace('""', "")
            # No row is taken for the inside of a cell. A line that closes one may have as many cells by chance.
            if line.count(TAB) + 1 == width > 1 and (is_row or not closes):
                return

    try:
        cells = next(csv.reader(row_lines(), delimiter=TAB, strict=True))
    except csv.Error:
        cells = []
    count = len(source.of_row)
    if len(cells) != width or (is_row and count > 1 and width > 1 and source.of_row[-1].count(TAB) + 1 == width):
        source.put_back(count - 1)
        return None
    if width == 1 and count > 1:
        first = source.number - count + 1
        raise FormatError(
            f"lines {first} to {source.number} stand between quotes and are one text or {count}; write the file as "
            "CSV, where a quote inside a cell is doubled, or as JSONL."
        )
    return cells


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
    line = first + len(re.findall(r"\r\n|\n|\r", row[:end]))
    if QUOTED.match(row, end):
        return (
            f"line {line}: text follows the closing quote of a cell ({_shorten(row[end:])}); put quotes around the "
            "whole cell, and double each quote inside it."
        )
    return (
        f"line {line}: a quote is opened and never closed ({_shorten(row[end:])}); close it. A text that begins with a "
        "quote stands in quotes, and the quote is doubled."
    )


def _shorten(text: str) -> str:
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= 40 else f"{line[:40]}..."
