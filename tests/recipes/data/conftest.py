"""Fixtures of the tests of data."""

from collections.abc import Sequence
from pathlib import Path

import datasets
import pytest
from datasets import Dataset


@pytest.fixture
def local_hub(tmp_path: Path) -> Path:
    """A data set in a folder with the hub's layout: labels are class numbers, and the test split has none."""
    features = datasets.Features(
        {
            "idx": datasets.Value("int32"),
            "sentence": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["negative", "positive"]),
        }
    )

    def split(start: int, labels: Sequence[int]) -> Dataset:
        rows = {"idx": list(range(start, start + len(labels))), "sentence": ["x"] * len(labels), "label": list(labels)}
        return Dataset.from_dict(rows, features=features)

    for name, rows in (("train", split(0, [0, 1] * 10)), ("test", split(100, [-1, -1, -1]))):
        rows.to_parquet(tmp_path / "set" / "data" / f"{name}-00000-of-00001.parquet")
    return tmp_path / "set"
