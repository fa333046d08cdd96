"""The rules for labels, on cells as they stand in files."""

import json
from typing import Any

import numpy as np
import pytest

from recipes.data.labels import (
    Labels,
    describe_labels,
    label_name,
    parse_list,
    read_label_columns,
    read_labels,
    sort_labels,
    spelling_key,
)
from recipes.errors import UserError


def read_rows(*cells: Any, **options: Any) -> Any:
    return read_labels(cells, "train", **options).rows


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pos", "pos"),
        (" pos\t", "pos"),
        ("pos\u200b", "pos"),  # zero-width space
        ("\ufeffpos", "pos"),  # byte order mark
        ("p\u00ados", "pos"),  # soft hyphen
        ("\u202apos\u202c", "pos"),  # marks of direction
        ("pos\x00", "pos"),
        ("pos\u200d \u00a0", "pos"),
        ("very\u00a0good", "very good"),
        ("e\u0301", "é"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("a\nb", "a\nb"),
        ("\u200b", None),
        (" ", None),
        ("", None),
        ("1.0", "1"),
        ("-2.00", "-2"),
        ("-0.0", "0"),
        ("1.5", "1.5"),
        ("007", "007"),
        ("1e3", "1e3"),
        ("null", "null"),
        ("nan", "nan"),
        ("--1", "--1"),
        ("2.", "2."),
        ("1.0.0", "1.0.0"),
        (str(float(np.float32(0.1))), "0.1"),
        (str(float(np.float32(-2.3))), "-2.3"),
        ("0.123456789012345", "0.123456789012345"),
        ("9" * 5000, "9" * 5000),
        ("9" * 5000 + ".0", "9" * 5000),
    ],
)
def test_a_label_is_its_visible_text(text: str, name: str | None) -> None:
    assert label_name(text) == name
    assert name is None or label_name(name) == name


def test_a_class_of_the_run_keeps_its_name() -> None:
    assert (label_name("1.0", ["1.0"]), label_name(" 1.0 ", ["1.0"]), label_name("2.0", ["1.0"])) == ("1.0", "1.0", "2")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("['b', 'c']", ["b", "c"]),
        ('["a","b"]', ["a", "b"]),
        ("[]", []),
        ("[1, 2]", ["1", "2"]),
        ("[1.0, None, True]", ["1.0", None, "True"]),
        ("['b' 'c']", ["b", "c"]),  # NumPy
        ("[0 1 0]", ["0", "1", "0"]),
        ("('a',)", ["a"]),
        ("{'x', 'y'}", ["x", "y"]),
        ("['it\\'s', \"a, b\"]", ["it's", "a, b"]),
        ('["\\ud83d\\ude00"]', ["😀"]),
        ("['ä|\\n']", ["ä|\n"]),
        ("[a, b]", None),
        ("[URGENT]", None),
        ("(1)", None),
        ("{}", None),
        ("['a'", None),
        ("['a'b]", None),
        ("['a',, 'b']", None),
        ("[[1], [2]]", None),
        ("['a'] and ['b']", None),
        ("a", None),
        ("[", None),
    ],
)
def test_lists_that_were_saved_as_text(text: str, items: list[str | None] | None) -> None:
    assert parse_list(text) == items


@pytest.mark.parametrize("names", [["a", "b"], [], ["it's", 'say "x"'], ["a, b", "[c]", "\\", "|"], ["é", "文", "\n"]])
def test_lists_that_python_and_json_write_are_read_back(names: list[str]) -> None:
    for text in (str(names), json.dumps(names), json.dumps(names, ensure_ascii=False)):
        assert parse_list(text) == names


def test_a_column_of_lists_saved_as_text_is_read_as_lists() -> None:
    labels = read_labels(["['a']", "['b', 'c']", "[]", "", None], "train")
    assert labels.rows == [["a"], ["b", "c"], [], None, None]
    assert labels.notes == ["train: labels are lists saved as text, such as \"['b', 'c']\"; they are read as lists."]
    assert read_rows("['a, b']", "[]", separator=",") == [["a, b"], []]


def test_lists_saved_as_text_next_to_names_stay_names_with_a_note() -> None:
    labels = read_labels(["['a']", "b"], "train")
    assert labels.rows == ["['a']", "b"]
    (note,) = labels.notes
    assert note.startswith("train: some labels look like lists saved as text")


def test_a_separator_makes_lists() -> None:
    assert read_rows("a | b|a", "", None, "c", separator="|") == [["a", "b"], [], [], ["c"]]
    assert not read_labels(["a | b"], "train", separator="|").notes


def test_lists_of_names() -> None:
    assert read_rows(["a", None], "b", None, ["c", " c", ""]) == [["a"], ["b"], None, ["c"]]


@pytest.mark.parametrize(
    "cells",
    [
        [["0", "1", "0"], ["1", "1", "0"], ["0", "0", "0"]],
        [["0.0", "1.0", "0.0"], ["1.0", "1.0", "0.0"], ["0.0", "0.0", "0.0"]],
        [["false", "true", "false"], ["True", "True", "False"], ["0", "0", "0"]],
        ["[0, 1, 0]", "[1, 1, 0]", "[0 0 0]"],
    ],
)
def test_multi_hot_lists_are_labels_by_their_index(cells: list[Any]) -> None:
    labels = read_labels([*cells, None], "train")
    assert (labels.rows, labels.has_lists, labels.multi_hot) == ([["1"], ["0", "1"], [], None], True, 3)
    assert read_rows("0|1|0", "1|1|0", "", None, separator="|") == [["1"], ["0", "1"], None, None]
    assert labels.notes[-1] == "train: labels are read as multi-hot lists of 3 classes, which are called 0 to 2."


@pytest.mark.parametrize(
    "cells",
    [[["0"], ["1"]], [["0", "1"], ["1"], []], [["0", "1"], []], [["0", "2"], ["1", "0"]], [["0", None], ["1", "0"]]],
)
def test_lists_that_may_be_labels_are_no_multi_hot_lists(cells: list[Any]) -> None:
    labels = read_labels(cells, "train")
    assert not labels.multi_hot
    assert labels.rows == [[item for item in cell if item] for cell in cells]


def test_lists_of_one_number_are_noted() -> None:
    assert read_labels([["0"], ["1"]], "train").notes == [
        "train: each label is a list of one number, 0 or 1; they are read as names, not as multi-hot lists."
    ]


def test_other_splits_have_the_lists_of_training() -> None:
    assert read_rows(["1", "0"], multi_hot=2) == [["0"]]
    with pytest.raises(UserError, match=r"row 1 \(counted from 0\) has the label \['1'\], .* lists of 2 times 0 or 1"):
        read_rows(["1", "0"], ["1"], multi_hot=2)
    with pytest.raises(UserError, match="lists of 3 times 0 or 1"):
        read_rows(["1", "0"], multi_hot=3)
    with pytest.raises(UserError, match="train has multi-hot lists of 0 and 1, but train has lists of labels"):
        read_rows(["1", "0", "0"], multi_hot=0)
    assert read_rows(["0", "1"], multi_hot=0) == [["0", "1"]]


def test_columns_of_0_and_1() -> None:
    columns = {"b": ["1", "0.0", "true", None], "a": ["1", "1.0", "False", ""]}
    assert read_label_columns(columns, "train") == Labels(
        [["b", "a"], ["a"], ["b"], None], True, 0, ["train: labels are read from 2 columns of 0 and 1: 'b', 'a'."]
    )


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"a": ["1", "2"], "b": ["0", "0"]}, "column 'a' of data.label must hold 0 or 1 .* row 1 .* has '2'"),
        ({"a": ["x", "y"]}, "row 0 .* has 'x'. .* write data.label=a"),
        ({"a": ["0", "1"], "b": ["0", None]}, "row 1 .* has no value in column 'b'"),
    ],
)
def test_columns_of_other_values_are_refused(columns: dict[str, list[Any]], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        read_label_columns(columns, "train")


def test_what_is_not_read_as_it_stands_is_noted() -> None:
    assert read_labels(["pos", "pos\u200b", "1", "1.0", "1.0", " neg"], "train").notes == [
        "train: 1 of 6 labels have invisible characters or special spaces (U+200B); they are read without them, "
        "as 'pos'.",
        "train: 1 of 6 labels have blanks at their ends; they are read without them, as 'neg'.",
        "train: 2 of 6 labels are numbers such as '1.0', which is read as '1'.",
    ]
    assert not read_labels(["pos", "1", "007", "null", "é"], "train").notes


def describe(*names: str) -> str:
    return " ".join(describe_labels(dict.fromkeys(names, 2), "train"))


def test_a_missing_value_as_text_is_noted_with_its_count() -> None:
    assert describe("nan", "pos").startswith(
        "train: 2 of 4 labels are the text 'nan', which programs write for a missing"
    )
    assert all(describe(text, "pos") for text in ("None", "NaN", "null", "NA", "<NA>", "NaT", "n/a"))
    assert not describe("none", "pos", "negative")


def test_a_scale_is_noted_and_ratings_are_not() -> None:
    assert "look like a scale (3 numbers from 0.5 to 2.5)" in describe("0.5", "2.5", "1")
    assert "look like a scale (40 numbers from 0 to 117)" in describe(*(str(3 * number) for number in range(40)))
    for ratings in (["1", "2", "3", "4", "5"], ["0.5", "1"], [str(number) for number in range(77)], ["100", "116"]):
        assert not describe(*ratings)
    assert "scale" in describe("1e50", "0.5", "7")


def test_two_spellings_of_one_number_are_noted() -> None:
    assert describe("7", "007").startswith("train: '007' and '7' are one number but different labels")
    assert not describe("7", "007", "x")


def test_labels_are_sorted_by_value_if_all_are_integers() -> None:
    assert sort_labels(["10", "9", "-1"]) == ["-1", "9", "10"]
    for names in (["--1", "--2"], ["²", "1"], ["٣", "1"], ["-", "1"], ["9" * 5000, "1"], ["10", "9", "b"]):
        assert sort_labels(names) == sorted(names)


def test_labels_that_look_alike_have_one_key() -> None:
    for one, other in (("pos", "pоs"), ("❤️", "❤"), ("Very Good", "very_good"), ("ＡＢＣ", "abc"), ("a\u200db", "ab")):
        assert one != other and spelling_key(one) == spelling_key(other)
    assert spelling_key("a") != spelling_key("b")


@pytest.mark.parametrize("text", ["[0. 1.]", "[np.int64(0), np.int64(1)]", "array([0, 1])", "[0 1]"])
def test_arrays_of_numpy_are_multi_hot(text: str) -> None:
    assert read_labels([text, text], "train").rows == [["1"], ["1"]]


def test_arrays_that_were_cut_are_refused() -> None:
    with pytest.raises(UserError, match="labels are arrays that were cut when they were written"):
        read_labels(["[0 1 0 ... 0 0 0]", "[1 1 0 ... 0 0 0]"], "train")
