"""The loop that everybody writes by hand, and a bound for it: the same loop without padding."""

import time
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from scripts.bench.peer_batches import cut_into_batches
from scripts.bench.tasks import Task


def train_by_hand(task: Task, batches: Iterable[Mapping[str, Tensor]]) -> float:
    """Train on the batches.

    Returns:
        The seconds of all updates.
    """
    model = task.copy_model()
    optimizer, schedule = task.make_optimizer(model)
    limit = task.config.train.clip_norm or float("inf")
    start = time.perf_counter()
    for batch in batches:
        loss = model(**batch).loss
        loss.backward()
        clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return time.perf_counter() - start


def train_without_padding(task: Task) -> float:
    """Train on as many tokens as the task has, without padding. No loop that pads can be faster.

    Rows of similar length share a batch. Each row is cut, or repeats its own tokens, to the mean length of its batch,
    so every batch is a full rectangle. There are as many batches as in training, and their lengths differ as much: one
    mean length for all would make attention, whose cost grows with the square, too cheap. Rounding changes the number
    of tokens a little, so the time is scaled to the true number.

    Returns:
        The seconds of all updates.
    """
    train, size = task.untrained_run.train, task.config.train.batch_size
    batches, computed = [], 0
    for rows in cut_into_batches(np.argsort(train.lengths, kind="stable"), size):
        width = round(train.lengths[rows].mean())
        bounds = zip(train.offsets[rows], train.offsets[rows + 1], strict=True)
        tokens = [np.resize(train.columns["input_ids"][begin:end], width) for begin, end in bounds]
        ids = torch.from_numpy(np.stack(tokens)).long()
        labels = torch.from_numpy(train.labels[rows])
        batches.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
        computed += ids.numel()
    return train_by_hand(task, batches) * int(train.lengths.sum()) / computed
