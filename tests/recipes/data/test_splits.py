"""The splits of one run: which labels they may have, and which splits stay hidden."""

import time
from dataclasses import replace

import pytest
from datasets import Dataset

from recipes.data import duplicates
from recipes.data.splits import Splits, read_splits
from tests.recipes.data.helpers import (
    FILES,
    ROWS,
    Write,
    all_rows_by_id,
    as_csv,
    as_jsonl,
    grouped_rows,
    ids_of_splits,
    read,
    read_problems,
    rows_by_id,
)


def test_a_path_for_each_split(write: Write) -> None:
    train = write("train.csv", as_csv(ROWS))
    validation = write("dev.jsonl", as_jsonl([{"label": "neg", "text": "x"}, {"label": "pos", "text": "y"}]))
    test = write("test.tsv", as_csv([("z", "pos")], "\t"))
    splits = read(train, validation=validation, test=test)
    assert rows_by_id(splits.train) == {str(number): row for number, row in enumerate(ROWS)}
    assert rows_by_id(splits.validation) == {"0": ("x", "neg"), "1": ("y", "pos")}
    assert rows_by_id(splits.test) == {"0": ("z", "pos")}


def test_empty_texts_stay_and_are_noted(write: Write) -> None:
    train = write(
        "a.jsonl", as_jsonl([{"text": None, "label": "a"}, {"text": "  ", "label": "b"}, {"text": "x", "label": "a"}])
    )
    splits = read(train, validation=train, test=train)
    assert splits.train["text"] == ["", "  ", "x"]
    assert "train has 2 empty texts." in splits.notes


def test_classes_are_sorted_by_value_if_numbers_else_by_letter(write: Write) -> None:
    train = write("a.csv", as_csv([("x", label) for label in ["10", "9", "-1"] * 9]))
    assert read(train).classes == ["-1", "9", "10"]
    train = write("b.csv", as_csv([("x", label) for label in ["z", "10", "b"] * 9]))
    assert read(train).classes == ["10", "b", "z"]


def test_how_labels_were_read_is_noted_for_each_split(write: Write) -> None:
    rows = [(f"t{number}", name) for number, name in enumerate(["1", "1.0", "2\u200b", "nan"] * 10)]
    test = write("b.csv", as_csv([("x", "2.0"), ("y", "1")]))
    splits = read(write("a.csv", as_csv(rows)), test=test)
    assert splits.classes == ["1", "2", "nan"]
    assert splits.test is not None and list(splits.test["label"]) == ["2", "1"]
    assert [note.split(":")[0] for note in splits.notes] == ["train", "train", "test", "train"]
    assert "train: 10 of 40 labels are the text 'nan'" in splits.notes[3]


def test_a_column_for_each_label(write: Write) -> None:
    rows = [(f"t{number}", str(number % 2), "1" if number % 3 else "0", "0") for number in range(40)]
    path = write("a.csv", as_csv(rows, header=("text", "b", "a", "c")))
    splits = read(path, label=["b", "a", "c"])
    assert (splits.multi_label, splits.classes) == (True, ["a", "b"])
    assert all_rows_by_id(splits)["1"] == ("t1", ["b", "a"])
    assert splits.notes == [
        "train: labels are read from 3 columns of 0 and 1: 'b', 'a', 'c'.",
        "train: no row has the label 'c', so it is not a class.",
    ]
    unlabelled = write("b.csv", "text\nx\n")
    assert "test has no labels; it gets predictions only." in read(path, label=["b", "a"], test=unlabelled).notes
    (problem,) = read_problems(path, label=["b", "d"])
    assert problem.startswith("data.label=d: train has no such column")


def test_multi_hot_lists_have_one_length_in_all_splits(write: Write) -> None:
    rows = [{"text": f"t{number}", "label": [number % 2, number % 3 % 2, 0]} for number in range(40)]
    path = write("a.jsonl", as_jsonl(rows))
    splits = read(path)
    assert (splits.multi_hot, splits.classes, splits.multi_label) == (3, ["0", "1"], True)
    assert "train: no row has the label '2', so it is not a class." in splits.notes
    test = write("b.jsonl", as_jsonl([{"text": "x", "label": [0, 1]}]))
    (problem,) = read_problems(path, test=test)
    assert problem.startswith("test: row 0 (counted from 0) has the label ['0', '1']")
    names = write("c.jsonl", as_jsonl([{"text": "x", "label": ["0"]}, {"text": "x", "label": ["1", "0"]}] * 20))
    (problem,) = read_problems(names, test=path)
    assert problem == "test has multi-hot lists of 0 and 1, but train has lists of labels; write the labels in both."


def test_one_class_is_enough_if_a_row_may_have_none(write: Write) -> None:
    train = write("a.csv", as_csv([("x", "urgent"), ("y", "")] * 10))
    assert read(train, label_separator=";").classes == ["urgent"]


@pytest.mark.parametrize("content", ["text\nx\ny\n", "text,label\nx,\ny,\n", "text,label\nx,-1\ny,-1\n"])
@pytest.mark.parametrize("separator", [None, "|"])
def test_a_test_split_without_labels_gets_predictions_only(content: str, separator: str | None, write: Write) -> None:
    splits = read(write("a.csv", as_csv(ROWS)), test=write("test.csv", content), label_separator=separator)
    assert rows_by_id(splits.test) == {"0": ("x", None), "1": ("y", None)}
    assert "test has no labels; it gets predictions only." in splits.notes


def test_minus_one_is_a_label_if_training_has_it(write: Write) -> None:
    train = write("a.csv", as_csv([("x", label) for label in ["-1", "1"] * 10]))
    splits = read(train, test=write("test.csv", "text,label\nx,-1\n"))
    assert rows_by_id(splits.test) == {"0": ("x", "-1")}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_training_and_validation_rows_must_have_labels(split: str, write: Write) -> None:
    good, bad = write("a.csv", as_csv(ROWS)), write("b.csv", as_csv([*ROWS, ("x", ""), ("y", " ")]))
    paths = {"train": good, "validation": good, split: bad}
    assert read_problems(**paths) == (f"{split}: 2 of 22 rows have no label (first: id 20); label or remove them.",)


def test_labels_that_training_does_not_have_are_noted(write: Write) -> None:
    train = write("a.csv", as_csv(ROWS))
    other = write("b.csv", as_csv([("x", "pos"), ("x", "neg"), ("y", "mixed"), ("y", "mixed")]))
    splits = read(train, validation=other, test=other, extra={"hard": str(other)})
    assert splits.classes == ["neg", "pos"]
    for name in ("validation", "test", "hard"):
        start = f"{name} has labels that train does not: 'mixed' (2); they count as errors in accuracy and are left out"
        assert any(note.startswith(start) for note in splits.notes)
    assert splits.extra["hard"]["label"] == ["pos", "neg", "mixed", "mixed"]


def test_a_typo_between_splits_is_refused(write: Write) -> None:
    rows = [("x", "positive"), ("y", "negative")] * 10
    train = write("a.csv", as_csv(rows))
    for typo in ("postive", "Positive", "positives"):
        other = write("b.csv", as_csv([(text, typo if label == "positive" else label) for text, label in rows]))
        (problem,) = read_problems(train, validation=other)
        assert problem.startswith(f"validation has labels that train does not: '{typo}' (10); is '{typo}' train's ")
    other = write("c.csv", as_csv([("x", "good"), ("x", "bad")]))
    assert read_problems(train, test=other) == (
        "test has labels that train does not: 'bad' (1), 'good' (1), and none of train's: negative, positive. Are "
        "they spelt alike?",
    )
    numbers = write("d.csv", as_csv([("x", "0"), ("x", "1")] * 10))
    for one, other in ((train, numbers), (numbers, train)):
        assert read_problems(one, test=other)[0].endswith(
            "One has names, the other class numbers; write the names in both."
        )


def test_similar_numbered_labels_and_labels_in_use_are_not_typos(write: Write) -> None:
    train = write("a.csv", as_csv([("x", f"class{number}") for number in range(9)] * 3))
    splits = read(train, test=write("b.csv", as_csv([("x", "class1"), ("x", "class10")])))
    assert any("class10" in note for note in splits.notes)
    train = write("c.csv", as_csv([("x", "positive"), ("x", "negative")] * 9))
    splits = read(train, test=write("d.csv", as_csv([("x", "positive"), ("x", "postive")])))
    assert any("postive" in note for note in splits.notes)


def test_the_test_split_is_not_read_unless_requested(write: Write) -> None:
    train = write("a.csv", as_csv(grouped_rows(), header=("text", "label", "user")))
    splits = read(train, read_test=False)
    assert splits.test is None
    assert [list(rows["id"]) for rows in (splits.train, splits.validation)] == ids_of_splits(read(train))[:2]
    assert read_splits(replace(FILES, train=str(train), test="nowhere.csv"), {}, False).test is None


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (["a"] * 20, "train has only one class, 'a'; a classifier needs at least two. Is data.label the right column?"),
        ([""] * 20, "train has no labels; a classifier needs at least two. Is data.label the right column?"),
        ([f"l{n}" for n in range(99)], "train has 99 different labels in 99 rows; is data.label the right column?"),
        (
            [f"{n}.5" for n in range(99)],
            "train has 99 different labels in 99 rows; is data.label the right column? Numbers on a scale are not "
            "classes; write a few bins.",
        ),
    ],
)
def test_labels_unfit_for_a_classifier_are_refused(labels: list[str], problem: str, write: Write) -> None:
    assert read_problems(write("a.csv", as_csv([("x", label) for label in labels]))) == (problem,)


def test_a_class_that_only_other_splits_have_is_missing_in_training(write: Write) -> None:
    rows = [("x", "a", "one")] * 20 + [("x", "b", "two")] * 3 + [("x", "a", "two")] * 4
    train = write("a.csv", as_csv(rows, header=("text", "label", "user")))
    assert read_problems(train, group="user", validation=train)[0].startswith("train has only one class, 'a'; ")


def test_label_lists_in_one_split_and_single_labels_in_another_are_refused(write: Write) -> None:
    lists = write("a.jsonl", as_jsonl([{"text": "x", "label": ["a"]}, {"text": "y", "label": ["b"]}] * 9))
    one = write("b.csv", as_csv([("x", "a"), ("y", "b")]))
    assert read_problems(lists, validation=one) == (
        "validation has one label per row, but train has lists of labels; write both alike.",
    )
    assert read_problems(one, validation=lists, test=one) == (
        "validation has lists of labels, but train has one label per row; write both alike.",
    )


@pytest.mark.slow
def test_many_rows_are_read_in_seconds(write: Write) -> None:
    rows = [(f"text number {number} of many", "abcdefg"[number % 7]) for number in range(200_000)]
    train = write("a.csv", as_csv(rows))
    began = time.perf_counter()
    splits = read(train)
    assert time.perf_counter() - began < 20
    assert [len(part) for part in ids_of_splits(splits)] == [140_000, 20_000, 40_000]


class TestHideTest:
    def test_only_digests_of_the_test_and_extra_splits_are_visible(self) -> None:
        def rows(*texts: str) -> Dataset:
            return Dataset.from_dict({"id": texts, "text": texts, "text_pair": [None] * len(texts)})

        cleaned: list[list[str]] = []

        def clean_rows(examples: Dataset) -> Dataset:
            cleaned.append(list(examples["text"]))
            return examples.map(lambda row: {"text": row["text"].strip("*")})

        splits = Splits(rows("a"), rows("b"), rows("*C  d*"), ["x"], False, {"more": rows("e", "c d")})
        visible = splits.hide_test(clean_rows)
        assert not hasattr(visible, "test") and not hasattr(visible, "extra") and cleaned == []
        assert visible.hidden_digests() == {duplicates.digest("c d"), duplicates.digest("e")}
        assert visible.hidden_digests() is visible.hidden_digests()
        assert cleaned == [["*C  d*"], ["e", "c d"]]

    def test_without_hidden_splits_there_are_no_digests(self) -> None:
        rows = Dataset.from_dict({"id": ["0"], "text": ["a"], "text_pair": [None]})
        assert Splits(rows, rows, None, ["x"], False).hide_test(lambda each: each).hidden_digests() == frozenset()
