"""JSON objects in any layout, read in pieces of any size."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from recipes.data.formats import FormatError
from recipes.data.json_values import JsonText

OBJECTS = [{"a": 'é\n\\"{', "b": ["1", {"c": "x"}]}, {}, {"a": "12.5", "b": None}]


def read(text: str, size: int = 1 << 20) -> list[tuple[int, Any, str]]:
    def pieces() -> Iterator[str]:
        for start in range(0, len(text), size):
            yield text[start : start + size]

    return list(JsonText(pieces()))


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, OBJECTS)),
        "".join(map(json.dumps, OBJECTS)),
        ",\r\n".join(map(json.dumps, OBJECTS)),
        "\r".join(json.dumps(each, indent=2) for each in OBJECTS),
        json.dumps(OBJECTS),
        " \n" + json.dumps(OBJECTS, indent=1) + "\n",
    ],
)
def test_every_layout_gives_the_same_objects(text: str, size: int) -> None:
    values = read(text, size)
    assert [value for _, value, _ in values] == OBJECTS
    assert not any(problem for _, _, problem in values)


@pytest.mark.parametrize("size", [3, 1000])
def test_lines_are_counted(size: int) -> None:
    assert [line for line, _, _ in read('{"a":\r\n1}\r{"b": 2} {"c": 3}\n\n{"d": 4}', size)] == [1, 3, 0, 5]


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("nope", "Expecting value"),
        ('{"a": 1', "Expecting"),
        ('{"a": "open', "Invalid control character at"),
        ('{"a": \\x}', "Expecting value"),
        ('{"a": "\\x"}', "Invalid \\\\escape"),
    ],
)
def test_a_bad_line_is_skipped_alone(bad: str, reason: str, size: int) -> None:
    good = '{"text": "good"}\n'
    values = read(good + bad + "\n" + good * 2, size)
    assert [value for _, value, _ in values] == [{"text": "good"}, None, *[{"text": "good"}] * 2]
    assert [line for line, _, _ in values] == [1, 2, 3, 4]
    assert values[1][2].startswith(f"not valid JSON ({reason}".replace("\\\\", "\\"))


def test_a_number_may_be_cut_between_two_pieces() -> None:
    assert [value for _, value, _ in read("12 345\n", 1)] == ["12", "345"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n{"a": }]', "line 2 is not valid JSON (Expecting value); correct it."),
        ('[{"a": 1},\n{"a": 2}', "the list of objects is not closed, so the file is cut off; copy or write it again."),
        ('[{"a": 1}]\n{"a": 2}', "line 2: text follows the end of the list; write all objects into it."),
    ],
)
def test_a_damaged_list_is_refused(text: str, message: str) -> None:
    for size in (1, 1000):
        with pytest.raises(FormatError) as caught:
            read(text, size)
        assert str(caught.value) == message


def test_no_text_has_no_values() -> None:
    assert read("") == read(" \n") == read("[]") == []
