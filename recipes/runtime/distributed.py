"""Processes that train one run together (torchrun), and the threads of each process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState


def is_first() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Print a line in the first process only."""
    if is_first():
        print(text)


def wait_for_all() -> None:
    """Wait until every process has called this; a single process goes on at once."""
    if "RANK" in os.environ:
        PartialState().wait_for_everyone()


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Inside this context torch computes on `count` threads; None: the number stays as it is."""
    before = torch.get_num_threads()
    if count is not None and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
