"""Augmentation: make variants of each training row, once, with the result in the cache."""

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
from recipes.runtime.watchdog import end_with

Make = Callable[[str, random.Random], Sequence[str]]
STRIDE = 50  # rows between two updates of the progress bar: a language model makes a few variants a second


def with_variants(
    examples: Dataset, make: Make, seed: int, purpose: str, settings: Sequence[object], workers: int = 1
) -> Dataset:
    """Append variants of every row. The variants of a row do not depend on other rows.

    Args:
        examples: rows (id, source, text, text_pair, label).
        make: maps a text and a random generator to the text's variants. For a pair it is called on both texts, and the
            pairs of variants stop at the shorter list. It is pickled if there is more than one worker.
        seed: the seed of the config.
        purpose: key of the random draws.
        settings: everything else that `make` depends on; together with the rows and the seed it names the cache entry.
        workers: number of processes that make variants.

    Returns:
        The unchanged rows, then the variants. A variant has the `source` of its row, and the id of the row followed by
        "+1", "+2" and so on.
    """
    make_variants, process = make if workers == 1 else _Packed(make), os.getpid()

    def rows(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        end_with(process)
        variants: dict[str, list[Any]] = {name: [] for name in batch}
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            draws = random.Random(draw_key(seed, purpose, row["id"]))
            texts = make_variants(row["text"], draws)
            pairs = [None] * len(texts) if row["text_pair"] is None else make_variants(row["text_pair"], draws)
            for number, (text, pair) in enumerate(zip(texts, pairs, strict=False), 1):
                for name, value in {**row, "id": f"{row['id']}+{number}", "text": text, "text_pair": pair}.items():
                    variants[name].append(value)
        return variants

    with _bar():
        variants = map_cached(
            examples,
            rows,
            ("variants", seed, purpose, *settings),
            remove_columns=examples.column_names,
            features=examples.features,
            num_proc=workers if workers > 1 else None,
            desc=purpose,
            batch_size=STRIDE,
        )
    return concatenate_datasets([examples, variants])


@contextmanager
def _bar() -> Iterator[None]:
    """Inside this context `map` shows a progress bar, on the terminal of the first process only."""
    if sys.stderr.isatty() and os.environ.get("RANK", "0") == "0":
        datasets.enable_progress_bars()
    try:
        yield
    finally:
        datasets.disable_progress_bars()


class _Packed:
    """A function pickled by the C pickler: that of `datasets` is slow on large dictionaries."""

    def __init__(self, make: Make) -> None:
        self.make = make

    def __call__(self, text: str, draws: random.Random) -> Sequence[str]:
        return self.make(text, draws)

    def __reduce__(self) -> tuple[Callable[[bytes], Make], tuple[bytes]]:
        return pickle.loads, (pickle.dumps(self.make),)
