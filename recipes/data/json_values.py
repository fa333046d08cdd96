"""Objects of JSON text, read one by one: one a line, pretty-printed one after another, or in one list."""

import json
import re
from collections.abc import Iterator
from typing import Any

from recipes.data.formats import FormatError

# A value may be cut off by the end of the text that has been read; an error this near to it is not one yet.
NEAR = 16
# Between values; objects one a line may have commas between them too.
GAP = re.compile(r"[ \t\r\n,]*+")
LIST = re.compile(r"\[[ \t\r\n]*+(.)")
LINE_END = re.compile(r"\r\n|\n|\r")


class Repeated(dict[str, Any]):
    """An object with a key that occurs twice."""


def _as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    return values if len(values) == len(pairs) else Repeated(values)


# A number is the text that stands in the file: 0.10 and 1e3 are not rewritten, and no digit is lost.
# NaN is how Python writes a missing number.
DECODER = json.JSONDecoder(
    parse_float=str,
    parse_int=str,
    parse_constant=lambda name: None if name == "NaN" else name,
    object_pairs_hook=_as_object,
)


class JsonText:
    """JSON text that is read piece by piece.

    Args:
        pieces: the text, in any pieces.
    """

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        # Text that is in memory, and the index up to which it is read.
        self._text, self._index = "", 0
        # The number of a line, and the index up to which its end was looked for.
        self._line, self._counted = 1, 0

    def __iter__(self) -> Iterator[tuple[int, Any, str]]:
        """Read all values.

        Yields:
            The number of the line where the value begins, or 0 if another value begins there too; the value; why it
            is none. A line that is not JSON is skipped, with that reason.

        Raises:
            FormatError: a list of objects breaks the rules of JSON.
        """
        self._skip_gap()
        if in_list := self._begins_list():
            self._index += 1
            self._skip_gap()
        before = 0
        while self._index < len(self._text):
            line = self._line_number(self._index)
            if in_list and self._text[self._index] == "]":
                self._index += 1
                self._skip_gap()
                if self._index < len(self._text):
                    line = self._line_number(self._index)
                    raise FormatError(f"line {line}: text follows the end of the list; write all objects into it.")
                return
            value, problem = self._decode(in_list)
            yield line if line != before else 0, value, problem
            before = line
            self._skip_gap()
        if in_list:
            raise FormatError("the list of objects is not closed, so the file is cut off; copy or write it again.")

    def _begins_list(self) -> bool:
        """Whether all the text is one list of objects."""
        if not self._text.startswith("[", self._index):
            return False
        while not (match := LIST.match(self._text, self._index)) and self._extend():
            pass
        return match is not None and match[1] in "{]"

    def _extend(self) -> bool:
        """Read more text, about as much as is unread in memory, and forget what is done.

        Returns:
            Whether there was more.
        """
        unread = self._text[self._index :]
        self._line_number(self._index)
        pieces, length = [unread], 0
        # A long value is decoded again when there is more of it: twice as much each time, so that this stays rare.
        while length <= len(unread) and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            length += len(piece)
        self._text, self._index, self._counted = "".join(pieces), 0, 0
        return length > 0

    def _line_number(self, end: int) -> int:
        """The number of the line at an index that is not before the last one."""
        start, self._counted = self._counted, end
        self._line += self._text.count("\n", start, end)
        self._line += self._text.count("\r", start, end) - self._text.count("\r\n", start, end)
        return self._line

    def _skip_gap(self) -> None:
        """Go to the next value, over blanks and commas."""
        while True:
            match = GAP.match(self._text, self._index)
            assert match is not None  # it matches the empty text
            self._index = match.end()
            if self._index < len(self._text) or not self._extend():
                return

    def _decode(self, in_list: bool) -> tuple[Any, str]:
        """Read the value at the index; skip its line if it is none."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._index)
            except json.JSONDecodeError as error:
                is_cut = error.pos >= len(self._text) - NEAR or error.msg.startswith("Unterminated string")
                if is_cut and self._extend():
                    continue
                reason, index = error.msg, error.pos
            except RecursionError:
                reason, index = "it is nested too deeply", self._index
            else:
                # A number may go on.
                if end < len(self._text) or not self._extend():
                    self._index = end
                    return value, ""
                continue
            if in_list:
                raise FormatError(f"line {self._line_number(index)} is not valid JSON ({reason}); correct it.")
            return None, self._skip_line(reason)

    def _skip_line(self, reason: str) -> str:
        while not (match := LINE_END.search(self._text, self._index)) and self._extend():
            pass
        self._index = match.end() if match else len(self._text)
        return f"not valid JSON ({reason}); correct it"
