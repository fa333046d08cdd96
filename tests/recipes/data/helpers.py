"""Write data files and read them as splits, for the tests of this package."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from recipes.compose import reading
from recipes.compose.overrides import compose_config
from recipes.config import Data
from recipes.data.splits import Splits, read_splits
from recipes.errors import UserError

Write = Callable[[str, str | bytes], Path]

FILES = reading.read(compose_config(["data=files", "data.train=x"])[0]).data
HUB = reading.read(compose_config(["data=hub", "data.name=x"])[0]).data
ROWS = [("a good film", "pos"), ("a bad film", "neg"), ("", "pos"), ("so, so", "neg")] * 5


def read(
    train: Path | str, extra: dict[str, str] | None = None, read_test: bool = True, base: Data = FILES, **values: Any
) -> Splits:
    """Read the splits of a file, or of a hub data set, with these values of `data`."""
    paths = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return read_splits(replace(base, train=str(train), **paths), extra or {}, read_test)


def read_problems(*arguments: Any, **values: Any) -> tuple[str, ...]:
    """The problems that `read` reports for these arguments."""
    with pytest.raises(UserError) as caught:
        read(*arguments, **values)
    assert all(problem.endswith((".", "?")) and "\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def rows_by_id(*splits: Dataset | None) -> dict[str, tuple[str, Any]]:
    """Text and label by id, of all splits together."""
    rows_of: dict[str, tuple[str, Any]] = {}
    for rows in splits:
        assert rows is not None
        for row in rows:
            assert row["id"] not in rows_of
            assert row["source"] == row["id"]
            rows_of[row["id"]] = (row["text"], row["label"])
    return rows_of


def all_rows_by_id(splits: Splits) -> dict[str, tuple[str, Any]]:
    return rows_by_id(splits.train, splits.validation, splits.test)


def as_csv(rows: Sequence[tuple[str, ...]], separator: str = ",", header: Sequence[str] = ("text", "label")) -> str:
    def cell(value: str) -> str:
        doubled = value.replace('"', '""')
        return f'"{doubled}"' if any(mark in value for mark in (separator, '"', "\n")) else value

    return "".join(separator.join(map(cell, row)) + "\n" for row in [tuple(header), *rows])


def as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_parquet(folder: Path, name: str, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def write_file(name: str, folder: Path) -> Path:
    """Write `ROWS` to a file, in the format of its ending."""
    path = folder / name
    if name.endswith(".parquet"):
        return write_parquet(folder, name, text=[text for text, _ in ROWS], label=[label for _, label in ROWS])
    content = {
        ".csv": as_csv(ROWS),
        ".tsv": as_csv(ROWS, "\t"),
        ".jsonl": as_jsonl([{"text": text, "label": label} for text, label in ROWS]),
        ".json": json.dumps([{"text": text, "label": label} for text, label in ROWS]),
    }[path.with_suffix("").suffix if name.endswith(".gz") else path.suffix].encode()
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    return path


def grouped_rows(count: int = 1000) -> list[tuple[str, str, str]]:
    """Rows (text, label, user) of three classes with 70 %, 25 % and 5 % of the rows."""
    random = np.random.default_rng(0)
    labels = np.array(["a"] * (count * 70 // 100) + ["b"] * (count * 25 // 100) + ["c"] * (count * 5 // 100))
    return [
        (f"text {number}", str(label), f"u{random.integers(count // 8)}")
        for number, label in enumerate(random.permutation(labels))
    ]


def ids_of_splits(splits: Splits) -> list[list[str]]:
    assert splits.test is not None
    return [list(rows["id"]) for rows in (splits.train, splits.validation, splits.test)]
