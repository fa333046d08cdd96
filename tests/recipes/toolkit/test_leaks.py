"""Texts from outside: none that is known stays."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset

from recipes import UserError
from recipes.data.splits import Splits
from recipes.toolkit.leaks import leave_out_known, note_unread_test

SETTING = "tricks.pseudo_label.threshold"


def rows(*texts: str) -> Dataset:
    return Dataset.from_dict({"id": list(texts), "text": list(texts), "text_pair": [None] * len(texts)})


def remaining(*texts: str, threshold: float = 0.9) -> list[str]:
    evaluated = {"validation": rows("a row of the validation split"), "test": rows("a row of the test split")}
    splits = Splits(rows("x"), **evaluated, classes=["p", "q"], multi_label=False)
    run: Any = SimpleNamespace(splits=splits.hide_test(clean), clean_rows=clean)
    return list(leave_out_known(run, rows(*texts), rows("a training row"), threshold, SETTING)["text"])


def clean(examples: Dataset) -> Dataset:
    return examples.map(lambda row: {"text": row["text"].replace("_", " ")})


def test_repeated_texts_training_rows_and_rows_of_other_splits_are_left_out() -> None:
    known = ["A_training  row", "a row of the_validation split", "A row of the test split"]
    near = ["a row of the validation split!", "a row of the test split!"]
    assert remaining(*known, "new_text", "New text", *near) == ["new text"]
    assert remaining(*known, "new_text", *near, threshold=1.0) == ["new text", *near]


def test_near_duplicates_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(
        UserError,
        match=r"threshold=0.9: .*pip install 'trickbook\[deduplicate\]'.* with tricks.pseudo_label.threshold=1.0",
    ):
        remaining("new")
    assert remaining("new", threshold=1.0) == ["new"]


@pytest.mark.parametrize(("is_read", "is_fold", "count"), [(True, False, 0), (False, False, 1), (False, True, 0)])
def test_an_unread_test_split_is_noted(is_read: bool, is_fold: bool, count: int) -> None:
    notes: list[str] = []
    config, splits = SimpleNamespace(evaluate=SimpleNamespace(test=is_read)), SimpleNamespace(is_fold=is_fold)
    run: Any = SimpleNamespace(config=config, splits=splits, note=notes.append)
    note_unread_test(run, "mine")
    assert len(notes) == count
