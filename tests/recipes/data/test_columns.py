"""Columns become examples: ids, texts, pairs, and labels by name."""

from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from datasets import Dataset

from recipes.data.columns import as_dataset, as_examples
from recipes.errors import UserError
from tests.recipes.data.helpers import (
    HUB,
    ROWS,
    Write,
    all_rows_by_id,
    as_csv,
    as_jsonl,
    read,
    read_problems,
    rows_by_id,
    write_parquet,
)


def test_columns_are_found_by_their_configured_names(write: Write) -> None:
    rows = [(f"k{number}", "first", "second", label) for number, (_, label) in enumerate(ROWS)]
    train = write("a.csv", as_csv(rows, header=("key", "one", "two", "class")))
    splits = read(train, id="key", text="one", text_pair="two", label="class")
    assert set(all_rows_by_id(splits)) == {f"k{number}" for number in range(len(ROWS))}
    assert set(splits.train["text"]) == {"first"}
    assert set(splits.train["text_pair"]) == {"second"}


def test_the_fingerprint_of_rows_goes_by_their_cells() -> None:
    table = pa.table({"text": ["a", "b", "c"], "label": ["x", "y", "x"]})
    in_chunks = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    one, same = (as_dataset(each)._fingerprint for each in (table, in_chunks))
    changed = pa.table({"text": ["a", "b", "d"], "label": ["x", "y", "x"]})
    different = (table.slice(1), table.rename_columns(["text", "tag"]), changed)
    assert one == same and one not in [as_dataset(each)._fingerprint for each in different]


def test_without_the_setting_there_is_no_text_pair(write: Write) -> None:
    assert set(read(write("a.csv", as_csv(ROWS))).train["text_pair"]) == {None}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([1, 2], ["1", "2"]),
        ([1.0, 2.0], ["1", "2"]),
        ([0.5, 1.5], ["0.5", "1.5"]),
        ([True, False], ["false", "true"]),
        (["007", "7"], ["7", "007"]),
        ([-1, 1], ["-1", "1"]),
        ([10, 9], ["9", "10"]),
        (["10", "b"], ["10", "b"]),
        ([" a", "b "], ["a", "b"]),
        ([3, "b"], ["3", "b"]),
        (["体育", "财经"], ["体育", "财经"]),
    ],
)
def test_labels_of_every_type_become_names(values: list[Any], classes: list[str], write: Write) -> None:
    train = write("a.jsonl", as_jsonl([{"text": "x", "label": value} for value in values * 10]))
    splits = read(train)
    assert sorted(splits.classes) == sorted(classes)
    assert Counter(label for _, label in all_rows_by_id(splits).values()) == dict.fromkeys(classes, 10)


def test_numbers_categories_and_missing_values_of_parquet(tmp_path: Path) -> None:
    train = write_parquet(tmp_path, "a.parquet", text=["x"] * 20, label=[1.0, 2.0] * 10)
    test = write_parquet(tmp_path, "b.parquet", text=["x"] * 3, label=[1.0, float("nan"), None])
    splits = read(train, test=test)
    assert splits.classes == ["1", "2"]
    assert splits.test is not None
    assert splits.test["label"] == ["1", None, None]
    assert "test: 2 of 3 rows have no label; they get predictions only." in splits.notes
    coded = pa.array(["a", "b"] * 10).dictionary_encode()
    assert read(write_parquet(tmp_path, "c.parquet", text=["x"] * 20, label=coded)).classes == ["a", "b"]


def test_lists_of_labels(write: Write, tmp_path: Path) -> None:
    lists = [["a", "b"], [], ["b"], ["c", "a", "c"]] * 5
    jsonl = write("a.jsonl", as_jsonl([{"text": "x", "label": names} for names in lists]))
    separated = write("a.csv", as_csv([("x", " | ".join(names)) for names in lists]))
    parquet = write_parquet(tmp_path, "a.parquet", text=["x"] * 20, label=lists)
    expected = {str(number): ("x", list(dict.fromkeys(names))) for number, names in enumerate(lists)}
    for splits in (read(jsonl), read(separated, label_separator="|"), read(parquet)):
        assert splits.multi_label
        assert splits.classes == ["a", "b", "c"]
        assert all_rows_by_id(splits) == expected


def test_lists_of_numbers_and_a_single_name_among_lists(write: Write) -> None:
    train = write("a.jsonl", as_jsonl([{"text": "x", "label": [1, 2]}, {"text": "x", "label": [2]}] * 10))
    assert read(train).classes == ["1", "2"]
    train = write("b.jsonl", as_jsonl([{"text": "x", "label": ["a", None]}, {"text": "x", "label": "b"}] * 10))
    assert all_rows_by_id(read(train))["0"] == ("x", ["a"])
    assert all_rows_by_id(read(train))["1"] == ("x", ["b"])


def test_a_validation_split_without_the_label_column_is_refused(write: Write) -> None:
    good, bad = write("a.csv", as_csv(ROWS)), write("b.csv", "text\nx\n")
    assert read_problems(good, validation=bad) == ("data.label=label: validation has no such column; there are: text.",)


def test_all_missing_columns_are_reported_together(write: Write) -> None:
    train = write("a.csv", as_csv(ROWS))
    assert read_problems(train, text="txet", text_pair="b", label="lable", id="key", group="user") == (
        "data.id=key: train has no such column; there are: label, text.",
        "data.text=txet: train has no such column; did you mean text? There are: label, text.",
        "data.text_pair=b: train has no such column; there are: label, text.",
        "data.label=lable: train has no such column; did you mean label? There are: label, text.",
        "data.group=user: train has no such column; there are: label, text.",
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": ["x"], "label": "a"}, "'text' holds a list, not a text; write a text, or name another column."),
        ({"text": {"x": 1}, "label": "a"}, "'text' holds an object, not a text; write a text, or name another column."),
        (
            {"text": "x", "label": {"a": 1}},
            "'label' holds an object, not a label; write a label, or name another column.",
        ),
        ({"text": "x", "label": [["a"]]}, "'label' holds a list of other things than labels; write their names."),
        ({"label": "a"}, "no text in 'text'; write one, or remove the record."),
    ],
)
def test_a_cell_of_a_wrong_type_is_refused_with_its_line(row: dict[str, Any], reason: str, write: Write) -> None:
    train = write("a.jsonl", as_jsonl([{"text": "x", "label": "a"}, row]))
    assert read_problems(train) == (f"data.train={train}: line 2: {reason}",)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, "a.parquet", text=[b"a", b"\xff"], label=["a", "b"])
    assert read_problems(path) == (
        f"data.train={path}: record 2: 'text' is not UTF-8 (byte 0xFF), though the file is; correct it.",
    )


def test_columns_that_are_not_used_may_hold_anything(write: Write) -> None:
    odd: list[Any] = [None, 1, "x", {"a": [1]}, [[]]]
    rows = [{"text": text, "label": label, "note": odd[number % 5]} for number, (text, label) in enumerate(ROWS)]
    assert len(all_rows_by_id(read(write("a.jsonl", as_jsonl(rows))))) == len(ROWS)


def test_numbers_become_texts(write: Write) -> None:
    train = write("a.jsonl", as_jsonl([{"text": 5, "label": "a"}, {"text": "five", "label": "b"}] * 10))
    assert set(text for text, _ in all_rows_by_id(read(train)).values()) == {"5", "five"}


def test_ids_must_be_unique(write: Write) -> None:
    rows = [(f"k{number % 19}", *row) for number, row in enumerate(ROWS)]
    train = write("a.csv", as_csv(rows, header=("key", "text", "label")))
    assert read_problems(train, id="key") == (
        "data.id=key: train has 'k0' more than once; name a column of unique ids, or leave data.id out.",
    )
    assert len(all_rows_by_id(read(train))) == len(ROWS)


def test_a_split_of_the_hub_without_rows_is_refused() -> None:
    with pytest.raises(UserError, match=r"^data.train=all: the split has no rows; name another\.$"):
        as_examples(Dataset.from_dict({"text": [], "label": []}), HUB, "train", "all")


def test_class_numbers_of_the_hub_become_names(local_hub: Path) -> None:
    splits = read("train", base=HUB, name=local_hub, test="test", text="sentence", id="idx")
    assert splits.classes == ["negative", "positive"]
    assert Counter(splits.train["label"]) == {"negative": 9, "positive": 9}
    assert rows_by_id(splits.test) == {"100": ("x", None), "101": ("x", None), "102": ("x", None)}
    assert set(rows_by_id(splits.train, splits.validation)) == {str(number) for number in range(20)}


def test_lists_of_class_numbers_become_names(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["joy", "anger", "none"])
    features = datasets.Features({"text": datasets.Value("string"), "labels": datasets.Sequence(names)})
    rows = Dataset.from_dict({"text": ["x"] * 20, "labels": [[0, 1], []] * 10}, features=features)
    rows.to_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    splits = read("train", base=HUB, name=tmp_path / "set", label="labels")
    assert splits.multi_label
    assert splits.classes == ["anger", "joy"]
    assert all_rows_by_id(splits)["0"] == ("x", ["joy", "anger"])
