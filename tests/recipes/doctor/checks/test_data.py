"""What the doctor says of copies, with the right numbers and the right rows."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from datasets import Dataset

from recipes.doctor.checks.data import copies
from recipes.doctor.findings import CheckResult, Finding

FEATURES = datasets.Features({name: datasets.Value("string") for name in ("id", "text", "text_pair", "label")})


def rows(texts: Sequence[str], labels: Sequence[str] = (), prefix: str = "train") -> Dataset:
    """One row for each text; its id is its place."""
    columns = {
        "id": [f"{prefix} {number}" for number in range(len(texts))],
        "text": list(texts),
        "text_pair": [None] * len(texts),
        "label": list(labels) or ["x"] * len(texts),
    }
    return Dataset.from_dict(columns, FEATURES)


def findings(train: Dataset, **others: Dataset) -> list[Finding]:
    subject: Any = SimpleNamespace(originals=train, texts={"train": train, **others})
    subject.remedies = lambda finding, **_: f"what helps against {finding}"
    look = CheckResult("data", "copies", "")
    copies(subject, look)
    return look.findings


def different(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


@pytest.mark.parametrize(("count", "severity"), [(60, "note"), (59, "warning")])
def test_repeated_rows_are_counted_without_the_first_of_each(count: int, severity: str) -> None:
    """One text three times and one twice, whatever their case and white space: three rows too many."""
    texts = ["again", "twice", " Again ", "AGAIN", "twice", *different(count - 5)]
    (found,) = findings(rows(texts))
    assert found.remedy == "what helps against duplicates"
    assert found.message == f"train: 3 of {count} rows repeat another one."
    assert (found.severity, found.rows) == (severity, ["train 2", "train 3", "train 4"])


def test_no_repeated_row_is_no_finding() -> None:
    assert findings(rows(different(9)), validation=rows(["another"], prefix="validation")) == []


def test_texts_with_different_labels_are_counted_by_text() -> None:
    texts = ["one", "one", "one", "two", "two", "three", "three", *different(93)]
    labels = ["x", "y", "x", "y", "z", "x", "x", *["x"] * 93]
    repeated, torn = findings(rows(texts, labels))
    assert repeated.message == "train: 4 of 100 rows repeat another one."
    assert torn.message.startswith("train: 2 texts stand there with different labels, such as ")
    assert torn.rows == [f"train {number}" for number in range(5)]


def test_rows_of_other_splits_that_stand_in_train_are_counted_for_each_split() -> None:
    train = rows(different(9))
    validation = rows(["text 3", "other", "TEXT  3", "text 8"], prefix="validation")
    test = rows(["other", "text 0"], prefix="test")
    first, second = findings(train, validation=validation, test=test)
    assert first.message == "validation: 3 of 4 rows stand in train too."
    assert first.rows == ["validation 0", "validation 2", "validation 3"]
    assert second.message == "test: 1 of 2 rows stand in train too." and second.rows == ["test 1"]
