r"""Read the labels of a column. Training, the doctor and `trickbook predict --metrics` all follow these rules.

A cell is null, a text as it stands in the file, or a list of such texts. A note reports what is not read as it stands.

- A blank cell has no label. With `data.label_separator` a cell is a list, and a blank one is the empty list.
- A column in which each cell is a list saved as text, such as `['a', 'b']`, is read as lists.
- Lists of one length >= 2 with nothing but 0 and 1 are multi-hot: 1 at index 2 is the label `2`.
- A label is its visible text: without characters that nobody sees, without blanks at its ends, in Unicode form C.
- `1.0` is the label `1`, and `0.10000000149011612`, which is 0.1 in 32 bits, is `0.1`. `007` and `7` are two labels.
"""

import ast
import functools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from recipes.errors import UserError, list_names

Cell = None | str | list[str | None]

# Characters that no font shows: soft hyphens, zero-width spaces, marks of direction, controls. Tabs and line breaks are
# not among them. Joiners stay inside a label: emoji, Persian and Indian scripts need them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb]"
)
# All kinds of spaces, and letters that look like one.
SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u115f\u1160\u2800\u3164\uffa0]")
JOINERS = "\u200c\u200d"
ENDS = f" \t\n\r\u2028\u2029{JOINERS}"
# An integer that is written as a float.
INTEGRAL = re.compile(r"(-?[0-9]+)\.0+")
# A number of 32 bits that was written with the digits of 64 bits.
LONG_FLOAT = re.compile(r"-?[0-9]{1,9}\.[0-9]{9,}")
INTEGER = re.compile(r"-?[0-9]{1,18}")
NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]{1,3})?", re.IGNORECASE)
BITS = {"0": 0, "0.": 0, "0.0": 0, "false": 0, "1": 1, "1.": 1, "1.0": 1, "true": 1}
# How Python shows a scalar of NumPy 2 in a list, and how arrays are shown alone.
SCALAR = re.compile(r"np\.\w+\(([^()]*)\)")
ARRAY = re.compile(r"(?:array|tensor)\((\[[^]]*\])(?:, dtype=[\w.]+)?\)", re.DOTALL)
# NumPy cuts a long array where it is shown.
CUT_LIST = re.compile(r"\[.*\.\.\..*\]", re.DOTALL)

QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
BARE = r"[-+]?[0-9][-+.0-9e]*|true|false|none|null|nan"
ITEM = re.compile(rf"\s*({QUOTED}|{BARE})(?:\s*,\s*|\s+|$)", re.IGNORECASE | re.DOTALL)
BRACKETS = {"[": "]", "(": ")", "{": "}"}
NO_ITEM = ("none", "null", "nan")

# What pandas reads as a missing value. `astype(str)` and `str` turn a missing value into one of them.
MISSING_WORDS = frozenset(
    "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|NaT|None|n/a|nan|null".split("|")
)
# Integers up to this many may be ratings; more of them, with gaps, are probably a measurement.
MOST_RATINGS = 20
# Letters of other scripts that look like Latin ones.
LOOKALIKES = str.maketrans("аеорсухіјѕАВЕКМНОРСТХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "aeopcyxijsABEKMHOPCTXIJSABEZHIKMNOPTYXo")
IGNORED_IN_SPELLING = re.compile(rf"[\s_{JOINERS}\ufe00-\ufe0f]+")


@dataclass(frozen=True)
class Labels:
    """The labels of the rows of a split."""

    rows: Sequence[str | list[str] | None]
    """A name for each row, or a list of names; None where a row has no label."""
    has_lists: bool
    """Whether a row may have more than one label."""
    multi_hot: int
    """The length of the lists in the file, if each is 0 or 1 for each class; else 0."""
    notes: list[str]
    """What was not read as it stands in the file, for the user."""


def read_labels(
    cells: Sequence[Cell],
    source: str,
    separator: str | None = None,
    multi_hot: int | None = None,
    classes: Collection[str] = (),
) -> Labels:
    """Read the labels of a column.

    Args:
        cells: of the column.
        source: the name of the split or of the file, for the messages.
        separator: separates the labels of one text; None if a text is one label.
        multi_hot: the length of multi-hot lists; 0 for lists of names; None: as they look.
        classes: the classes of a finished run; a cell that equals one of them is that class.

    Raises:
        UserError: a list is in another form than `multi_hot` says.
    """
    notes: list[str] = []
    has_lists = any(isinstance(cell, list) for cell in cells)
    # A single text among lists is a list of one, whatever it looks like.
    texts = set() if has_lists else {cell for cell in cells if isinstance(cell, str) and cell.strip()}
    if texts and all(map(CUT_LIST.fullmatch, map(str.strip, texts))):
        raise UserError(
            f"{source}: labels are arrays that were cut when they were written, such as {min(texts)!r}; write them "
            "again as lists, for instance with .tolist()."
        )
    lists = {text: items for text in sorted(texts) if (items := parse_list(text)) is not None}
    if lists and len(lists) == len(texts):
        notes.append(
            f"{source}: labels are lists saved as text, such as {max(lists, key=len)!r}; they are read as lists."
        )
        cells = [lists.get(cell) if isinstance(cell, str) else cell for cell in cells]
        separator = None
    elif lists:
        notes.append(
            f"{source}: some labels look like lists saved as text, such as {max(lists, key=len)!r}, and others do not; "
            "all are read as names. Write all of them as lists, or none."
        )
    if separator and not has_lists:
        cells = [[*cell.split(separator)] if isinstance(cell, str) and cell.strip() else [] for cell in cells]
    if not any(isinstance(cell, list) for cell in cells):
        names = _name_texts([cell for cell in cells if isinstance(cell, str)], source, classes, notes)
        return Labels([names.get(cell) if isinstance(cell, str) else None for cell in cells], False, 0, notes)

    rows = [cell if cell is None or isinstance(cell, list) else [cell] for cell in cells]
    length = _multi_hot_length(rows)
    if multi_hot is None and length == 1:
        notes.append(
            f"{source}: each label is a list of one number, 0 or 1; they are read as names, not as multi-hot lists."
        )
    elif multi_hot or (multi_hot is None and length):
        length = multi_hot or length
        notes.append(
            f"{source}: labels are read as multi-hot lists of {length} classes, which are called 0 to {length - 1}."
        )
        return Labels([_read_bits(row, number, length, source) for number, row in enumerate(rows)], True, length, notes)
    elif length and any(row and len(set(row)) < len(row) for row in rows):
        raise UserError(
            f"{source} has multi-hot lists of 0 and 1, but train has lists of labels; write the labels in both."
        )
    texts_of_lists = [item for row in rows for item in row or () if item is not None]
    names = _name_texts(texts_of_lists, source, classes, notes, is_separated=separator is not None)
    return Labels([None if row is None else _unique_names(row, names) for row in rows], True, 0, notes)


def read_label_columns(columns: Mapping[str, Sequence[Cell]], source: str) -> Labels:
    """Read the labels of several columns, one for each class, whose cells are 0 or 1 (or false or true).

    Args:
        columns: cells by the name of the column, which is the name of the class.
        source: the name of the split or of the file, for the messages.

    Raises:
        UserError: a cell is neither 0 nor 1, or a row has some of the labels only.
    """
    names, problems = list(columns), []
    bits: list[list[int | None]] = []
    for name, cells in columns.items():
        bits.append([None if isinstance(cell, list) else _read_bit(cell) for cell in cells])
        wrong = [row for row, bit in enumerate(bits[-1]) if bit is None and not _is_blank(cells[row])]
        if wrong:
            problems.append(
                f"{source}: column {name!r} of data.label must hold 0 or 1 in each row, but row {wrong[0]} (counted "
                f"from 0) has {cells[wrong[0]]!r}. For a column with the names of labels, write data.label={name}."
            )
    rows: list[list[str] | None] = []
    for number, row in enumerate(zip(*bits, strict=True)):
        if all(bit is None for bit in row):
            rows.append(None)
            continue
        if None in row and not problems:
            problems.append(
                f"{source}: row {number} (counted from 0) has no value in column {names[row.index(None)]!r} of "
                "data.label; write 0 or 1 in each column, or leave all of them empty."
            )
        rows.append([name for name, bit in zip(names, row, strict=True) if bit])
    if problems:
        raise UserError(*problems)
    listing = list_names(names, most=10)
    return Labels(rows, True, 0, [f"{source}: labels are read from {len(names)} columns of 0 and 1: {listing}."])


def label_name(text: str, classes: Collection[str] = ()) -> str | None:
    """The label that a text stands for; None if nothing is to be seen of it.

    Args:
        text: as it stands in the file.
        classes: names that stay as they are.
    """
    if text.strip() in classes:
        return text.strip()
    name = visible_text(text)
    if integral := INTEGRAL.fullmatch(name):
        return "0" if not integral[1].strip("-0") else integral[1]
    if LONG_FLOAT.fullmatch(name):
        value = np.float32(name)
        shortest = str(value)
        return shortest if float(value) == float(name) and len(shortest) < len(name) else name
    return name or None


def visible_text(text: str) -> str:
    """The text without characters that cannot be seen, and with plain spaces, none of them at its ends."""
    return SPACES.sub(" ", INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip(ENDS)


def spelling_key(name: str) -> str:
    """Equal for labels that look alike: without case, spaces, widths, joiners and letters of other scripts."""
    folded = unicodedata.normalize("NFKC", visible_text(name)).translate(LOOKALIKES)
    return IGNORED_IN_SPELLING.sub("", folded).casefold()


def is_integer(name: str) -> bool:
    """Whether a label is an integer in plain digits, which `int` reads."""
    return INTEGER.fullmatch(name) is not None


def is_number(name: str) -> bool:
    """Whether a label is a number in plain digits, with or without a fraction or an exponent."""
    return NUMBER.fullmatch(name) is not None


def sort_labels(names: Collection[str]) -> list[str]:
    """Sort by value if all are integers, else by letter."""
    by_letter = sorted(names)
    return sorted(by_letter, key=int) if all(map(is_integer, by_letter)) else by_letter


def is_unlabelled(names: Collection[str], classes: Collection[str]) -> bool:
    """Whether a split has no labels.

    Unlabelled test sets come with null, with the label -1 in every row, or, if multi-label, with empty lists.

    Args:
        names: the different labels of the split.
        classes: the labels of the training rows.
    """
    return not names or (set(names) == {"-1"} and "-1" not in classes)


def describe_labels(counts: Mapping[str, int], source: str) -> Iterator[str]:
    """Notes on labels that are probably not meant as classes.

    Args:
        counts: rows of each label.
        source: the name of the split, for the messages.
    """
    total = sum(counts.values())
    for name in sorted(MISSING_WORDS & counts.keys()):
        yield (
            f"{source}: {counts[name]} of {total} labels are the text {name!r}, which programs write for a missing "
            "value. It is a class here; if these rows have no label, label or remove them."
        )
    if not all(map(is_number, counts)):
        return
    spellings: dict[Decimal, list[str]] = {}
    for name in sorted(counts):
        spellings.setdefault(Decimal(name), []).append(name)
    for names in spellings.values():
        if len(names) > 1:
            listing = list_names(names, last=" and ")
            yield f"{source}: {listing} are one number but different labels; write one spelling."
    values = sorted(spellings)
    has_fractions = any(value != value.to_integral_value() for value in values)
    has_gaps = values[-1:] and values[-1] - values[0] >= len(values)
    if (has_fractions and len(values) > 2) or (has_gaps and len(values) > MOST_RATINGS):
        yield (
            f"{source}: labels look like a scale ({len(values)} numbers from {values[0]} to {values[-1]}), but "
            "Trickbook trains a classifier, for which they are names without an order. If they are a measurement, "
            "write a few bins."
        )


def parse_list(text: str) -> list[str | None] | None:
    r"""Parse a list that was saved as text by Python, NumPy or as JSON; None if the text is no list.

    Example:
        >>> parse_list("['b', 'c']")
        ['b', 'c']
        >>> parse_list("[0 1]")
        ['0', '1']
    """
    text = ARRAY.sub(r"\1", SCALAR.sub(r"\1", text.strip()))
    if len(text) < 2 or BRACKETS.get(text[0]) != text[-1]:
        return None
    inner, items, end = text[1:-1].strip(), [], 0
    while end < len(inner):
        match = ITEM.match(inner, end)
        if match is None:
            return None
        items.append(match[1])
        end = match.end()
    # (1) is a number in parentheses, and {} may be anything.
    if text[0] != "[" and not (items and all(item[0] in "'\"" for item in items)):
        return None
    try:
        return [_parse_item(item) for item in items]
    except (ValueError, SyntaxError):
        return None


def _parse_item(item: str) -> str | None:
    if item[0] not in "'\"":
        return None if item.lower() in NO_ITEM else item
    if "\\" not in item:
        return item[1:-1]
    if item[0] == '"':
        try:
            return str(json.loads(item))
        except ValueError:
            pass
    return str(ast.literal_eval(item))


def _is_blank(cell: Cell) -> bool:
    return cell is None or isinstance(cell, str) and not visible_text(cell)


@functools.lru_cache(maxsize=1024)
def _read_bit(cell: str | None) -> int | None:
    return BITS.get(visible_text(cell).lower()) if isinstance(cell, str) else None


def _multi_hot_length(rows: Sequence[Sequence[str | None] | None]) -> int:
    """The length of the lists if all have one length and nothing but 0 and 1 in them, else 0."""
    lists = [row for row in rows if row]
    has_one_length = len({len(row) for row in lists}) == 1
    has_bits = has_one_length and all(_read_bit(item) is not None for row in lists for item in row)
    # Next to an empty list, [0, 1] may be the labels 0 and 1.
    is_ambiguous = has_bits and len(lists[0]) < 3 and any(row == [] for row in rows)
    return len(lists[0]) if has_bits and not is_ambiguous else 0


def _read_bits(row: Sequence[str | None] | None, number: int, length: int, source: str) -> list[str] | None:
    """The classes of a multi-hot list, by their index."""
    if not row:
        return None
    bits = [_read_bit(item) for item in row]
    if None in bits or len(bits) != length:
        raise UserError(
            f"{source}: row {number} (counted from 0) has the label {row!r}, but the labels are multi-hot lists of "
            f"{length} times 0 or 1; write all rows alike."
        )
    return [str(index) for index, bit in enumerate(bits) if bit]


def _unique_names(row: Sequence[str | None], names: Mapping[str, str | None]) -> list[str]:
    """The names of the labels of a row, each once."""
    named = dict.fromkeys(names.get(item) for item in row if item is not None)
    return [name for name in named if name is not None]


def _name_texts(
    texts: Sequence[str], source: str, classes: Collection[str], notes: list[str], is_separated: bool = False
) -> dict[str, str | None]:
    """Name each different text once, and note what was changed; blanks between separated labels are expected."""
    counts = Counter(texts)
    names: dict[str, str | None] = {text: label_name(text, classes) for text in counts}
    invisible, numbers, blanks = [], [], []
    for text, name in names.items():
        visible = visible_text(text)
        if name is None or name == text or text.strip() in classes:
            continue
        if visible != text.strip():
            invisible.append(text)
        elif visible != text and not is_separated:
            blanks.append(text)
        if visible != name:
            numbers.append(text)

    def count(changed: Sequence[str]) -> str:
        return f"{source}: {sum(counts[text] for text in changed)} of {counts.total()} labels"

    if invisible:
        characters = dict.fromkeys(
            f"U+{ord(character):04X}"
            for text in invisible
            for character in text
            if character not in (names[text] or "")
        )
        which = f" ({', '.join(list(characters)[:5])})" if characters else ""
        notes.append(
            f"{count(invisible)} have invisible characters or special spaces{which}; they are read without "
            f"them, as {names[invisible[0]]!r}."
        )
    if blanks:
        notes.append(f"{count(blanks)} have blanks at their ends; they are read without them, as {names[blanks[0]]!r}.")
    if numbers:
        notes.append(
            f"{count(numbers)} are numbers such as {numbers[0].strip()!r}, which is read as {names[numbers[0]]!r}."
        )
    return names
