"""Rows in memory: one file whatever their form, and a sentence for what cannot be read."""

import datetime
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from recipes.config import Data
from recipes.data.frames import MOST_FRACTIONS, save_rows, split_rows
from recipes.data.splits import read_splits
from recipes.errors import UserError

USED = [("text", "review"), ("label", "stars")]
PAIRS = [("text", "review"), ("text_pair", "reply"), ("label", "stars")]
TEXTS, LABELS = ["good", 'schlecht, "ja"', "坏\n了"], ["1", "2", "1"]
ROWS = [{"review": text, "stars": label} for text, label in zip(TEXTS, LABELS, strict=True)]
FRAME = pd.DataFrame(ROWS)


def records(rows: Any, split: str = "train", used: Any = USED) -> list[dict[str, Any]]:
    """The records of the file that is written."""
    path, count = save_rows(rows, split, used)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == count
    return [json.loads(line) for line in lines]


def labels(cells: Any) -> list[Any]:
    """The labels as they are written."""
    return [record["stars"] for record in records({"review": ["a text"] * len(cells), "stars": cells})]


def problems(rows: Any, split: str = "train", used: Any = USED) -> str:
    """The message about rows that cannot be read."""
    with pytest.raises(UserError) as caught:
        save_rows(rows, split, used)
    return str(caught.value)


class Capsule:
    """What Polars and others offer: a stream of Arrow batches."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.table(FRAME[["stars", "review"]].to_dict("list")).__arrow_c_stream__(requested_schema)


FORMS = {
    "frame": FRAME,
    "index that repeats": FRAME.set_index(pd.Index([7, 7, 7])),
    "more columns": FRAME.assign(secret=[{}, b"", object()]),
    "numbers": FRAME.assign(stars=[1, 2, 1]),
    "floats": FRAME.assign(stars=[1.0, 2.0, 1.0]),
    "nullable numbers": FRAME.assign(stars=pd.array([1, 2, 1], dtype="Int64")),
    "category": FRAME.astype({"stars": "category"}),
    "category of numbers": FRAME.assign(stars=pd.Categorical([1, 2, 1])),
    "mapping": {"review": TEXTS, "stars": LABELS},
    "mapping of arrays": {"review": np.array(TEXTS), "stars": pd.Series(LABELS, index=[5, 5, 5])},
    "dicts": ROWS,
    "tuples": list(zip(TEXTS, LABELS, strict=True)),
    "columns": (TEXTS, LABELS),
    "columns of a frame": (FRAME.review, torch.tensor([1, 2, 1])),
    "array": FRAME.to_numpy(),
    "data set": datasets.Dataset.from_list(ROWS),
    "data set with a format": datasets.Dataset.from_list(ROWS).with_format("torch"),
    "classes": datasets.Dataset.from_list(
        [{"review": row["review"], "stars": int(row["stars"]) - 1} for row in ROWS],
        datasets.Features({"review": datasets.Value("string"), "stars": datasets.ClassLabel(names=["1", "2"])}),
    ),
    "arrow": pa.table({"review": TEXTS, "stars": LABELS}),
    "capsule": Capsule(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_written_as_the_same_rows(form: str) -> None:
    written = records(FORMS[form])
    assert [record["review"] for record in written] == TEXTS
    assert [str(record["stars"]) for record in written] == LABELS


def test_the_same_rows_are_one_file_that_its_owner_alone_may_read(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))
    paths = {save_rows(FORMS[form], "train", USED)[0] for form in ("frame", "index that repeats", "tuples", "data set")}
    (path,) = paths
    assert path.parent == tmp_path / "trickbook" / "rows" and path.stat().st_mode & 0o077 == 0
    first = path.stat().st_mtime_ns
    save_rows(FRAME, "test", USED)
    assert path.stat().st_mtime_ns == first
    assert save_rows(FRAME[:2], "train", USED)[0] != path
    assert "secret" not in path.read_text(encoding="utf-8")


def test_rows_in_memory_are_read_as_those_of_a_file(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"text": [f'text {row % 7}, "{row}"' for row in range(40)], "label": [row % 3 for row in range(40)]}
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    names: dict[str, Any] = {
        item: None for item in ("name", "subset", "validation", "test", "text_pair", "id", "group", "label_separator")
    }
    both = []
    for path in (tmp_path / "rows.csv", save_rows(frame, "train", [("text", "text"), ("label", "label")])[0]):
        settings = Data(
            **names,
            source="files",
            train=str(path),
            header=True,
            encoding=None,
            text="text",
            label="label",
            validation_fraction=0.1,
            test_fraction=0.2,
            split_seed=0,
            fold=None,
            max_length=8,
        )
        splits = read_splits(settings, {}, True)
        both.append([splits.classes, splits.train.to_dict(), splits.validation.to_dict(), splits.test.to_dict()])  # type: ignore[union-attr]
    assert both[0] == both[1]


def test_cells_of_labels() -> None:
    day = datetime.date(2026, 1, 2)
    assert labels([True, np.bool_(False), 2, np.int64(3), np.float32(4), 0.5]) == [True, False, 2, 3, 4, 0.5]
    assert labels([None, float("nan"), pd.NA, pd.NaT, np.nan, "NaN"]) == [None] * 5 + ["NaN"]
    assert labels([["a", 1], ("b",), {"d", "c"}, np.array([0, 1]), []]) == [["a", 1], ["b"], ["c", "d"], [0, 1], []]
    assert labels([day, Decimal("1.50"), np.str_("x"), pd.Interval(0, 1)]) == ["2026-01-02", "1.50", "x", "(0, 1]"]
    assert labels(pd.cut(pd.Series([1.5, 8.5]), [0, 5, 10])) == ["(0, 5]", "(5, 10]"]


def test_lists_of_class_numbers_become_names() -> None:
    kinds = datasets.Features(
        {"review": datasets.Value("string"), "stars": datasets.List(datasets.ClassLabel(names=["a", "b"]))}
    )
    rows = datasets.Dataset.from_dict({"review": ["x", "y"], "stars": [[0, 1], []]}, kinds)
    assert [record["stars"] for record in records(rows)] == [["a", "b"], []]


def test_pairs_columns_of_bits_ids_and_groups() -> None:
    rows = [("a", "b", "yes"), ("c", "d", "no")]
    assert records(rows, used=PAIRS)[0] == {"review": "a", "reply": "b", "stars": "yes"}
    used = [("id", "key"), ("text", "review"), ("label", "toxic"), ("label", "insult"), ("group", "user")]
    frame = pd.DataFrame(
        {"key": [11, 12], "review": ["a", "b"], "toxic": [0, 1], "insult": [True, False], "user": [5, 5]}
    )
    assert records(frame, used=used)[0] == {"key": 11, "review": "a", "toxic": 0, "insult": True, "user": 5}


def test_a_test_split_needs_no_labels_and_no_groups() -> None:
    assert records({"review": ["a"]}, "test") == [{"review": "a"}]
    assert records({"review": ["a"], "stars": ["1"]}, "validation", [*USED, ("group", "user")])[0]["stars"] == "1"
    assert "label='stars': validation has no such column" in problems({"review": ["a"]}, "validation")


def test_the_splits_of_a_dataset_dict() -> None:
    rows = datasets.Dataset.from_list(ROWS)
    both = datasets.DatasetDict({"train": rows, "test": rows, "unsupervised": rows})
    assert set(split_rows({"train": both})) == {"train", "test"}
    assert split_rows({"train": both, "validation": FRAME})["validation"] is FRAME
    with pytest.raises(UserError, match=r"test is there twice.*train=data\['train'\]"):
        split_rows({"train": both, "test": FRAME})
    with pytest.raises(UserError, match=r"without a split 'train'; there are: dev"):
        split_rows({"train": datasets.DatasetDict({"dev": rows})})
    with pytest.raises(UserError, match=r"test is a DatasetDict; name one of its splits: test=data\['train'\]"):
        split_rows({"test": both})


def stream() -> Iterator[Mapping[str, str]]:
    yield from ROWS


class LazyFrame:
    """As that of Polars."""

    def collect(self) -> pd.DataFrame:
        return FRAME


REFUSED = {
    "misspelt column": (
        FRAME.rename(columns={"review": "reviews"}),
        "text='review': train has no such column; did you mean",
    ),
    "repeated column": (
        FRAME.set_axis(["stars", "stars"], axis=1).assign(review="x"),
        "train has 2 columns 'stars'; rename",
    ),
    "columns of 2 levels": (
        FRAME.set_axis(pd.MultiIndex.from_product([["a"], FRAME.columns]), axis=1),
        "train has column names of 2 levels; join them: df.columns = ['.'.join(",
    ),
    "bytes as text": (
        FRAME.assign(review=[b"a", b"b", b"c"]),
        "holds b'a' (bytes), which is no text; name another column, or decode these bytes",
    ),
    "bytes as label": (FRAME.assign(stars=[b"a", b"b", b"c"]), "holds b'a' (bytes); decode these bytes, in pandas"),
    "empty frame": (FRAME[:0], "train has no rows; give a table with at least one."),
    "empty list": ([], "train has no rows; give a table with at least one."),
    "missing texts": (FRAME.assign(review=["a", None, np.nan]), "2 of 3 texts of train are missing (first: row 1"),
    "missing text of pandas": (
        FRAME.assign(review=pd.array(["a", pd.NA, "b"], dtype="string")),
        "1 of 3 texts of train are missing",
    ),
    "number as text": (
        FRAME.assign(review=["a", 5, "b"]),
        "row 1 of train (counted from 0) holds 5 (int), which is no text",
    ),
    "list as text": ({"review": [["a"], ["b"]], "stars": LABELS[:2]}, "holds ['a'] (list), which is no text"),
    "half a character": ({"review": ["a", "\ud83d"], "stars": LABELS[:2]}, "holds \\ud83d without its other half"),
    "object as label": (
        {"review": ["a"], "stars": [{"a": 1}]},
        "label='stars': row 0 of train (counted from 0) holds {'a': 1} (dict)",
    ),
    "infinite label": ({"review": ["a"], "stars": [float("inf")]}, "holds inf (float); write a text or a number"),
    "measurement": (
        {"review": ["a"] * 30, "stars": [row + 0.5 for row in range(30)]},
        "30 different numbers with fractions",
    ),
    "lengths": ({"review": ["a"], "stars": LABELS}, "different lengths (review has 1, stars has 3)"),
    "lengths of a tuple": ((["a"], LABELS), "different lengths (review has 1, stars has 3)"),
    "one text": ({"review": "a", "stars": LABELS}, "its column 'review' is of type str; write a list"),
    "width of a tuple": (
        (TEXTS, TEXTS, LABELS),
        "is read as columns (rows are written as a list), but 2 are expected: review, stars",
    ),
    "width of a row": (
        [("a", "1"), ("b", "c", "2")],
        "(counted from 0) has 3 cells, but 2 are expected: review, stars; for pairs",
    ),
    "a row as tuple": (("a text", "1"), "for one row write a list of it"),
    "series": (FRAME.review, "(Series), without labels; give both: train=df or train=(texts, labels)."),
    "texts": (TEXTS, "train is a list of texts, without labels"),
    "column of a data set": (datasets.Dataset.from_list(ROWS)["review"], "one column (Column), without labels"),
    "mixed rows": ([ROWS[0], ("a", "1")], "train has 1 dicts and 1 tuples; write all rows alike."),
    "odd row": ([ROWS[0], 5], "row 1 (counted from 0) is of type int"),
    "stream": (
        datasets.IterableDataset.from_generator(stream),
        "(IterableDataset), which can be read only once; load it without streaming=True",
    ),
    "generator": (stream(), "which can be read only once; give train=list(...)."),
    "lazy": (LazyFrame(), "train is a LazyFrame, which is not computed yet; give train=frame.collect()."),
    "number": (5, "train is of type int; give a DataFrame, a datasets.Dataset, "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_sentence(name: str) -> None:
    rows, message = REFUSED[name]
    assert message in problems(rows)


def test_all_problems_of_a_split_come_at_once() -> None:
    assert problems({"review": [5], "other": [1]}).count("\n") == 1
    assert "for texts without labels write test={'review': texts}" in problems(TEXTS, "test")
    assert problems(False, "test") == "test=False: a run without a test split has evaluate__test=False."


def test_ratings_with_halves_are_classes() -> None:
    assert len(labels([row / 2 for row in range(2 * MOST_FRACTIONS)])) == 2 * MOST_FRACTIONS
