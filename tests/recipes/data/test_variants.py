"""Files of variants: what is read, and what is refused by the name of its setting."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipes.data.variants import read_variants
from recipes.errors import UserError
from tests.recipes.data.helpers import FILES, Write, as_jsonl

SETTING = "tricks.augment_from.variants_file"


def read(path: Path, **values: Any) -> tuple[dict[str, list[Any]], list[str]]:
    rows, notes = read_variants(str(path), SETTING, replace(FILES, **values), "id", "tricks.augment_from.id")
    columns: dict[str, list[Any]] = rows.to_dict()
    return columns, notes


def refusal(path: Path, **values: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **values)
    assert all(problem.startswith(f"{SETTING}={path}") for problem in caught.value.problems)
    return str(caught.value)


def test_ids_may_repeat_and_numbers_are_texts(write: Write) -> None:
    expected = {"id": ["7", "7", "a"], "text": ["one", "two", "three"], "text_pair": [None] * 3, "label": [None] * 3}
    assert read(write("a.csv", "text,id\none,7\ntwo, 7 \nthree,a\n"))[0] == expected
    lines: list[dict[str, Any]] = [{"id": 7, "text": "one"}, {"id": "7", "text": "two"}, {"id": "a", "text": "three"}]
    assert read(write("a.jsonl", as_jsonl(lines)))[0] == expected


def test_both_texts_of_a_pair_are_read(write: Write) -> None:
    columns, _ = read(write("a.csv", "id,text,other\n1,one,two\n"), text_pair="other")
    assert columns == {"id": ["1"], "text": ["one"], "text_pair": ["two"], "label": [None]}


def test_labels_are_read_as_those_of_the_data(write: Write) -> None:
    lines = "id,text,label\n1,one,x\n2,two,\n3,three,y|x\n"
    assert read(write("a.csv", lines))[0]["label"] == ["x", None, "y|x"]
    assert read(write("a.csv", lines), label_separator="|")[0]["label"] == [["x"], [], ["y", "x"]]
    columns = write("b.csv", "id,text,x,y\n1,one,1,0\n2,,0,1\n3,three,1,1\n")
    assert read(columns, label=["x", "y"])[0]["label"] == [["x"], ["x", "y"]]


def test_a_variant_with_an_empty_cell_is_left_out(write: Write) -> None:
    columns, notes = read(write("a.csv", "id,text\n1,one\n2,  \n,three\n"))
    assert columns["id"] == ["1"]
    assert "2 of 3 variants have an empty cell and are left out" in notes[0]
    assert "each of its texts is empty" in refusal(write("b.csv", "id,text\n1,\n"))


def test_what_cannot_be_read_is_named(write: Write, tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "absent.csv")
    assert "the ending must be one of" in refusal(write("a.docx", "x"))
    assert "the file has no rows; write some into it, or name another file." in refusal(write("a.csv", "id,text\n"))
    missing = refusal(write("b.csv", "row,content\n1,one\n"))
    assert "tricks.augment_from.id=id: the file of variants has no such column; there are: content, row." in missing
    assert "data.text=text: the file of variants has no such column" in missing
    assert "line 3: 1 cell, but the header names 2" in refusal(write("c.csv", "id,text\n1,one\n2\n"))
    assert "line 2: no text in 'text'" in refusal(write("d.jsonl", as_jsonl([{"id": "1", "text": "a"}, {"id": "2"}])))
