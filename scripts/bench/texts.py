"""Texts to measure with: random words, or the first rows of a data set."""

from pathlib import Path

import numpy as np
from datasets import Dataset

from recipes.data.splits import read_splits
from recipes.errors import UserError
from scripts.bench.config import make_config

VOCABULARY = 1000


def make_rows(count: int, words: int) -> Dataset:
    """Rows of random words with two random labels. A tiny tokenizer makes one token of each word."""
    random = np.random.default_rng(0)
    numbers = random.integers(0, VOCABULARY, (count, words))
    ids = [str(row) for row in range(count)]
    columns = {
        "id": ids,
        "source": ids,
        "text": [" ".join(f"w{number}" for number in row) for row in numbers],
        "text_pair": [None] * count,
        "label": [str(label) for label in random.integers(0, 2, count)],
    }
    return Dataset.from_dict(columns)


def find_training_file(data: Path) -> Path:
    path = next((data / name for name in ("train.csv", "train.csv.gz") if (data / name).is_file()), None)
    if path is None:
        raise UserError(f"--data {data}: there is no train.csv and no train.csv.gz in this folder.")
    return path


def read_texts(data: Path | None, count: int | None) -> tuple[str, Dataset]:
    """The name and the first rows of a data set, of pydocs if there is none; without empty texts.

    textaugment refuses empty texts.
    """
    file = find_training_file(data) if data else None
    config = make_config(["data=files" if data else "data=pydocs"], None, file)
    rows = read_splits(config.data, {}, test=False).train.filter(lambda row: row["text"].strip())
    return data.resolve().name if data else "pydocs", rows.select(range(min(count or len(rows), len(rows))))
