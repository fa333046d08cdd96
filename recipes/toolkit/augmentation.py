"""Making rows from rows: each row's variants come from draws of its own, once, into the cache."""

import os
import pickle
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
from datasets import Dataset, concatenate_datasets

from recipes.data.encoding import map_cached
from recipes.runtime.randomness import key as draw_key

Make = Callable[[str, random.Random], Sequence[str]]
STRIDE = 50  # rows between two looks at the bar: a language model makes a few variants a second


def with_variants(
    examples: Dataset, make: Make, seed: int, purpose: str, settings: Sequence[object], workers: int = 1
) -> Dataset:
    """The rows, and behind them what is made of each: the same for a row whatever stands beside it.

    Args:
        examples: rows (id, source, text, text_pair, label).
        make: from a text, and draws for it alone, to its variants; of a pair both texts are given to it in turn, and as
            many pairs made as both have variants. It is pickled where there are several workers.
        seed: the config's.
        purpose: what the draws are for.
        settings: everything else that `make` depends on; with the rows and the seed, the name in the cache.
        workers: processes that make variants.

    Returns:
        The rows as they were, then the variants with `id` = the row's id + "+1", "+2" and so on, and its `source`.
    """
    own = make if workers == 1 else _Packed(make)

    def rows(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        made: dict[str, list[Any]] = {name: [] for name in batch}
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            draws = random.Random(draw_key(seed, purpose, row["id"]))
            texts = own(row["text"], draws)
            pairs = [None] * len(texts) if row["text_pair"] is None else own(row["text_pair"], draws)
            for number, (text, pair) in enumerate(zip(texts, pairs, strict=False), 1):
                for name, value in {**row, "id": f"{row['id']}+{number}", "text": text, "text_pair": pair}.items():
                    made[name].append(value)
        return made

    with _bar():
        made = map_cached(
            examples,
            rows,
            ("variants", seed, purpose, *settings),
            remove_columns=examples.column_names,
            features=examples.features,
            num_proc=workers if workers > 1 else None,
            desc=purpose,
            batch_size=STRIDE,
        )
    return concatenate_datasets([examples, made])


@contextmanager
def _bar() -> Iterator[None]:
    """Inside this context a map shows how far it is, on the first process's terminal."""
    if sys.stderr.isatty() and os.environ.get("RANK", "0") == "0":
        datasets.enable_progress_bars()
    try:
        yield
    finally:
        datasets.disable_progress_bars()


class _Packed:
    """A function on its way to another process, whose own pickler is written in Python: slow on a large dictionary."""

    def __init__(self, make: Make) -> None:
        self.make = make

    def __call__(self, text: str, draws: random.Random) -> Sequence[str]:
        return self.make(text, draws)

    def __reduce__(self) -> tuple[Callable[[bytes], Make], tuple[bytes]]:
        return pickle.loads, (pickle.dumps(self.make),)
