"""Rows of CSV and TSV: quotes, line ends, and what must be refused."""

import pytest

from recipes.data.delimited import find_swallowed_row, is_quoted_tsv, read_rows
from recipes.data.formats import FormatError


def read(text: str, separator: str) -> list[list[str]]:
    return [cells for _, cells in read_rows(iter(split_lines(text)), separator)]


def split_lines(text: str) -> list[str]:
    end = "\n" if "\n" in text else "\r"
    return [line + end for line in text.removesuffix(end).split(end)]


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
    # In TSV the first row shows that the file is quoted.
    text = f'text{separator}label\n"a ""b"""{separator}x\n"one{inside}two"{separator}x\nx{separator}"one{inside}two"\n'
    assert read(text, separator)[2:] == [[cell, "x"], ["x", cell]]


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
        ['so "good"', "x"],
        ['"good" he said', "x"],
        ["x", '"a"b"'],
        ['5"', 'a""b'],
        ['"good"', '"pos"'],
    ],
)
def test_a_quote_in_tsv_is_a_character(cells: list[str]) -> None:
    rows = [["text", "label"], ["a", "b"], cells, ["c", "d"], ['say "so"', "e"], ['x "', "f"], ["g", '5 by 5"']]
    text = "".join("\t".join(row) + "\n" for row in rows)
    assert read(text, "\t") == rows


def test_after_a_quote_that_is_none_all_quotes_of_tsv_are_characters() -> None:
    rows = [["a", "b"], ['"open', "x"], ['"x', "y"], ['of 15"', "z"], ['"say ""so"""', '""']]
    assert read('a\tb\n"o" x\ty\n' + "".join("\t".join(row) + "\n" for row in rows[1:]), "\t")[2:] == rows[1:]


def test_tsv_cells_that_had_to_be_quoted_are_unquoted() -> None:
    assert read('a\tb\n"say ""so"""\t""\n', "\t")[1] == ['say "so"', ""]
    assert read('a\n""\nb\n', "\t") == [["a"], [""], ["b"]]
    assert read('a\tb\n"x\ty"\tz\n', "\t")[1] == ["x\ty", "z"]
    assert read('a\tb\n"x\ny"\tz\nz\t"x\n\ny"\n"a, b"\tz\n', "\t")[1:] == [
        ["x\ny", "z"],
        ["z", "x\n\ny"],
        ["a, b", "z"],
    ]


def test_tsv_with_a_quoted_header_is_quoted_throughout() -> None:
    assert read('"a"\t"b"\n"good"\t"pos"\n', "\t") == [["a", "b"], ["good", "pos"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a\tb\n"open\tx\na\tb\nof 15"\ty\n', "lines 2 to 4 are one row with a quoted cell, or 3 rows; "),
        ('a\tb\n"no label\nc\td\nof 15"\tz\n', "lines 2 to 4 are one row with a quoted cell, or 3 rows; "),
        ('a\n"open\nof 15"\n', "lines 2 to 3 are one row with a quoted cell, or 2 rows; "),
        ('a\tb\n"x"\ty\n"a ""b"""\tz\n', "line 3 has a quoted cell, but the quotes in line 2 may be characters; "),
        ('a\tb\n"a ""b"""\tz\n"x\ty\n', "line 3: a quote is opened and not closed, but line 2 has a quoted cell; "),
    ],
)
def test_tsv_that_may_be_read_in_two_ways_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(text, "\t")
    assert str(caught.value).startswith(message)


def test_a_quote_of_tsv_that_stays_open_for_long_is_a_character() -> None:
    for row in ("x\ty\n", "x\n"):
        text = row.replace("x", "a") + row.replace("x", '"open') + row * 2000 + row.replace("x", 'of 15"')
        rows = read(text, "\t")
        assert len(rows) == 2003 and rows[1][0] == '"open' and rows[-1][0] == 'of 15"'


@pytest.mark.parametrize(
    ("text", "column", "line"),
    [
        ('t,l\n"good,pos\nbad,neg\nof 15",pos\n', 1, "good,pos"),
        ('t,l\n"good, pos\nbad,neg\nof 15",pos\n', 1, "good, pos"),
        ('t,l\n"good,pos\nbad, really\nof 15",pos\n', 1, ""),
        ('t,l\n"good\nbad,neg\nof 15",pos\n', 1, ""),
        ('l,t\npos,"good\nneg,of 15"\n', 0, "neg,of 15"),
        ('l,t,x\npos,"good,1\nneg,bad,2\nneg,of 15",3\n', 0, "neg,bad,2"),
        ('t,l\n"I liked it, really\nso good",pos\n', 1, ""),
        ('t,l\n"I liked it\n\npos",pos\n', 1, ""),
        ('t,l\n"good,pos",neg\n', 1, ""),
    ],
)
def test_rows_inside_a_cell_are_found(text: str, column: int, line: str) -> None:
    assert find_swallowed_row(read(text, ",")[1], ",", column, {"pos", "neg"}) == line


@pytest.mark.parametrize(
    ("text", "is_quoted"),
    [
        ("a\tb\nx\ty\n", None),
        ('a\tb\n"x"\ty\n', None),
        ('a\tb\n"x"\ty\n"a ""b"""\tz\n', True),
        ('a\tb\n"x"\ty\n"a\nb"\tz\n', True),
        ('a\tb\n"x"\ty\n"a" b\tz\n', False),
        ('a\tb\n"open\tx\na\tb\nof 15"\ty\n', None),
        ('a\tb\n"open\tx\na\tb\nof 15"\ty\n"a" b\tz\n', False),
        ('a\tb\n"x, y"\ty\nz\t"v, w"\n', True),
        ('a\tb\n"x, y"\ty\nv, w\tz\n', None),
        ('a\tb\n"x, y"\ty\n"z"\tz\n', None),
    ],
)
def test_a_file_shows_whether_it_is_quoted(text: str, is_quoted: bool | None) -> None:
    assert is_quoted_tsv(iter(split_lines(text))) is is_quoted
