"""The batches that the peers train on: ready-made rectangles, padded lists, and pools sorted by length."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

from scripts.bench.tasks import Task

# transformers and most hand-written loops sort that many batches at a time.
POOL = 50

Collate = Callable[[Any], dict[str, Tensor]]


class PaddedRows:
    """Rows of one length, padded in advance. A batch is one indexing operation, which costs next to nothing."""

    def __init__(self, task: Task) -> None:
        train = task.untrained_run.train
        batch = train.collate(np.arange(len(train)), 0, 0)
        self.tensors = {**batch.inputs, "labels": torch.from_numpy(train.labels)}

    def __len__(self) -> int:
        return len(self.tensors["labels"])

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        index = torch.tensor(rows)
        return {name: values[index] for name, values in self.tensors.items()}


def keep_batch(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Collate nothing: `PaddedRows` makes whole batches."""
    return batch


def list_rows(task: Task) -> list[dict[str, Any]]:
    """Rows as lists of different length."""
    train, names = task.untrained_run.train, ("input_ids", "token_type_ids")
    bounds = zip(train.offsets[:-1], train.offsets[1:], train.labels, strict=True)
    return [
        {**{name: train.columns[name][begin:end].tolist() for name in names}, "labels": int(label)}
        for begin, end, label in bounds
    ]


def make_collator(task: Task) -> Collate:
    return DataCollatorWithPadding(task.untrained_run.tokenizer)


def load_sorted_pools(task: Task) -> DataLoader[dict[str, Tensor]]:
    """The usual way to group rows by length."""
    random = np.random.default_rng(task.config.seed)
    plan = sort_in_pools(task.untrained_run.train.lengths, task.config.train.batch_size, random)
    batches = [rows.tolist() for rows in plan]
    return DataLoader(list_rows(task), batch_sampler=batches, collate_fn=make_collator(task))


def repeat_shuffled(task: Task, rows: Any, collate: Collate) -> Iterator[dict[str, Tensor]]:
    """Shuffled batches, epoch after epoch, one for each update of the task."""
    loader = DataLoader(rows, task.config.train.batch_size, shuffle=True, collate_fn=collate)
    return islice(chain.from_iterable(repeat(loader)), task.untrained_run.total_updates)


def cut_into_batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[begin : begin + size] for begin in range(0, len(order), size)]


def sort_in_pools(lengths: np.ndarray, size: int, random: np.random.Generator) -> list[np.ndarray]:
    """Shuffle the rows, sort them by length inside pools of batches, and shuffle the batches."""
    batches = []
    for pool in cut_into_batches(random.permutation(len(lengths)), POOL * size):
        longest_first = pool[np.argsort(-lengths[pool], kind="stable")]
        batches += cut_into_batches(longest_first, size)
    return [batches[index] for index in random.permutation(len(batches))]
