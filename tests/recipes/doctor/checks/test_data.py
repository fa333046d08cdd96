"""Checks of the data: duplicates, contradictory labels and leaked rows, with exact counts and rows."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from datasets import Dataset

from recipes.doctor.checks.data import duplicates
from recipes.doctor.findings import CheckResult, Finding

FEATURES = datasets.Features({name: datasets.Value("string") for name in ("id", "text", "text_pair", "label")})


def make_rows(texts: Sequence[str], labels: Sequence[str] = (), prefix: str = "train") -> Dataset:
    """One row for each text; its id is its index."""
    columns = {
        "id": [f"{prefix} {number}" for number in range(len(texts))],
        "text": list(texts),
        "text_pair": [None] * len(texts),
        "label": list(labels) or ["x"] * len(texts),
    }
    return Dataset.from_dict(columns, FEATURES)


def find_duplicates(train: Dataset, **others: Dataset) -> list[Finding]:
    subject: Any = SimpleNamespace(
        original_rows=train,
        rows_of_splits={"train": train, **others},
        remedies=lambda finding, otherwise="": "a remedy",
    )
    result = CheckResult("data", "duplicates", "")
    duplicates(subject, result)
    return result.findings


def distinct_texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


@pytest.mark.parametrize(("count", "severity"), [(60, "note"), (59, "warning")])
def test_repeated_rows_are_counted_without_the_first_of_each(count: int, severity: str) -> None:
    """One text three times and one twice, whatever their case and white space: three repeated rows."""
    texts = ["again", "twice", " Again ", "AGAIN", "twice", *distinct_texts(count - 5)]
    (finding,) = find_duplicates(make_rows(texts))
    assert finding.message == f"train: 3 of {count} rows repeat another one."
    assert (finding.severity, finding.rows) == (severity, ["train 2", "train 3", "train 4"])


def test_there_is_no_finding_without_repeated_rows() -> None:
    assert find_duplicates(make_rows(distinct_texts(9)), validation=make_rows(["another"], prefix="validation")) == []


def test_texts_with_different_labels_are_counted_by_text() -> None:
    texts = ["one", "one", "one", "two", "two", "three", "three", *distinct_texts(93)]
    labels = ["x", "y", "x", "y", "z", "x", "x", *["x"] * 93]
    repeated, contradictory = find_duplicates(make_rows(texts, labels))
    assert repeated.message == "train: 4 of 100 rows repeat another one."
    assert contradictory.message.startswith("train: 2 texts occur with different labels, such as ")
    assert contradictory.rows == [f"train {number}" for number in range(5)]


def test_rows_of_other_splits_that_are_also_in_train_are_counted_for_each_split() -> None:
    train = make_rows(distinct_texts(9))
    validation = make_rows(["text 3", "other", "TEXT  3", "text 8"], prefix="validation")
    test = make_rows(["other", "text 0"], prefix="test")
    first, second = find_duplicates(train, validation=validation, test=test)
    assert first.message == "validation: 3 of 4 rows are also in train."
    assert first.rows == ["validation 0", "validation 2", "validation 3"]
    assert second.message == "test: 1 of 2 rows are also in train." and second.rows == ["test 1"]
