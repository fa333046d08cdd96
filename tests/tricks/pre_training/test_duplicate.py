"""Duplicate: every row again, as often as asked, and nothing of it changed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset

from tricks.pre_training.duplicate import Duplicate


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))


def rows() -> Dataset:
    columns = {
        "id": ["7", "9"],
        "source": ["7", "9"],
        "text": ["good film", "没意思 ：("],
        "text_pair": [None, None],
        "label": ["yes", "no"],
    }
    return Dataset.from_dict(columns)


def added(copies: int, examples: Dataset) -> Dataset:
    run: Any = SimpleNamespace(config=SimpleNamespace(seed=0))
    return Duplicate(copies=copies).examples(run, lambda result: result, examples)


def test_each_row_comes_so_many_times_more() -> None:
    result = added(2, rows())
    assert result["id"] == ["7", "9", "7+1", "7+2", "9+1", "9+2"]
    assert result["source"] == ["7", "9", "7", "7", "9", "9"]
    assert result["text"] == ["good film", "没意思 ：(", "good film", "good film", "没意思 ：(", "没意思 ：("]
    assert result["label"] == ["yes", "no", "yes", "yes", "no", "no"]


def test_other_numbers_of_copies_do_not_meet_in_the_cache() -> None:
    assert [len(added(copies, rows())) for copies in (1, 3, 1)] == [4, 8, 4]


def test_zero_copies_return_the_same_rows() -> None:
    examples = rows()
    assert added(0, examples) is examples
