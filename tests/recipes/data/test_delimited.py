"""Rows of CSV and TSV: quotes, line ends, and what must be refused."""

import re

import pytest

from recipes.data.delimited import read_rows
from recipes.data.formats import FormatError


def read(text: str, separator: str) -> list[list[str]]:
    return [cells for _, cells in read_rows(iter(split_lines(text)), separator)]


def split_lines(text: str) -> list[str]:
    return re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+", text)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", "\t"])
def test_any_line_end(end: str, separator: str) -> None:
    lines = [f"text{separator}label", f"a{separator}x", f"b{separator}y"]
    for text in (end.join(lines), end.join([*lines, ""])):
        assert list(read_rows(iter(split_lines(text)), separator)) == [
            (1, ["text", "label"]),
            (2, ["a", "x"]),
            (3, ["b", "y"]),
        ]


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("inside", ["\n", "\r", "\r\n", '""', '"",\t'])
def test_quoted_cells_hold_line_ends_separators_and_quotes(inside: str, separator: str) -> None:
    cell = f"one{inside}two".replace('""', '"')
    text = f'text{separator}label\n"one{inside}two"{separator}x\nx{separator}"one{inside}two"\n'
    assert read(text, separator)[1:] == [[cell, "x"], ["x", cell]]


def test_a_quote_inside_a_csv_cell_is_a_character() -> None:
    assert read('a,b\n5" screen,so "good"\n', ",") == [["a", "b"], ['5" screen', 'so "good"']]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,b\nx,y\n"open,y\nx,y\n', 'line 3: a quote is opened and never closed ("open,y); '),
        ('a,b\n"x\ny","open\nx,y\n', 'line 3: a quote is opened and never closed ("open); '),
        ('a,b\n"x" y,z\n', 'line 2: text follows the closing quote of a cell ("x" y,z); '),
        ('a,b\n"open,y\nx,y\n"z",y\n', "line 2: text follows the closing quote of a cell "),
        ('"a,b\nx,y\n', "line 1: a quote is opened and never closed "),
    ],
)
def test_a_csv_with_wrong_quotes_is_refused_with_the_line_of_the_opening_quote(text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(text, ",")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "cells",
    [
        ['"open', "x"],
        ["x", '"open'],
        ['"', '"'],
        ['"good"', '"pos"'],
        ['so "good"', "x"],
        ['"good" he said', "x"],
        ['5"', 'a""b'],
    ],
)
def test_a_quote_in_tsv_is_a_character(cells: list[str]) -> None:
    rows = [["text", "label"], ["a", "b"], cells, ["c", "d"], ['say "so"', "e"], ["f", 'of 15"']]
    text = "".join("\t".join(row) + "\n" for row in rows)
    assert read(text, "\t") == rows


def test_tsv_cells_that_had_to_be_quoted_are_unquoted() -> None:
    assert read('a\tb\n"say ""so"""\t""\n', "\t")[1] == ['say "so"', ""]
    assert read('a\tb\n"x\ty"\tz\n', "\t")[1] == ["x\ty", "z"]


def test_tsv_with_a_quoted_header_is_quoted_throughout() -> None:
    assert read('"a"\t"b"\n"good"\t"pos"\n', "\t") == [["a", "b"], ["good", "pos"]]


def test_no_row_of_tsv_is_taken_for_the_inside_of_a_cell() -> None:
    text = 'text\tlabel\n"open\tx\na\tb\nof 15"\ty\n"no label\nc\td\nof 15"\tz\n'
    assert read(text, "\t")[1:] == [
        ['"open', "x"],
        ["a", "b"],
        ['of 15"', "y"],
        ['"no label'],
        ["c", "d"],
        ['of 15"', "z"],
    ]


def test_tsv_of_one_column_that_may_be_read_in_two_ways_is_refused() -> None:
    assert read('text\n"open\nof 15" width\n', "\t") == [["text"], ['"open'], ['of 15" width']]
    with pytest.raises(FormatError, match="^lines 2 to 3 stand between quotes and are one text or 2; "):
        read('text\n"open\nof 15"\n', "\t")
