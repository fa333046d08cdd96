"""Deal the GPUs of this machine to the workers of a sweep: one each, in turn."""

import os
import tempfile
from functools import cache
from os import getpid
from pathlib import Path

import torch
from filelock import FileLock, Timeout

RUNS_ON_A_GPU = 4
"""Runs at a time on a GPU: 1.8 times as fast as one after another on an H100 (`scripts/gpu_check.py processes`)."""


def deal_gpu(sweep_id: int, device: str) -> None:
    """Let this process see one GPU alone, if it is a worker of a sweep that sees more than one.

    Call it before CUDA is used. A launcher that has given the worker one GPU wins, and so does a `train.device` other
    than auto.

    Args:
        sweep_id: number of the process that started the sweep; in that process itself nothing is done.
        device: the value of `train.device`.
    """
    gpus = visible_gpus()
    if device == "auto" and getpid() != sweep_id and len(gpus) > 1:
        number, _ = _claim_number(sweep_id, getpid())
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]


def visible_gpus() -> list[str]:
    """The names of the GPUs that this process sees, as `CUDA_VISIBLE_DEVICES` has them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = [str(number) for number in range(torch.cuda.device_count())]
    return numbers if named is None else named.split(",")[: len(numbers)]


@cache
def _claim_number(sweep_id: int, own_id: int) -> tuple[int, FileLock]:
    """Claim the smallest number that no other living worker of the sweep has, until this process ends.

    So a worker that replaces a dead one gets its GPU. The second argument tells forked processes apart.
    """
    number = 0
    while True:
        lock = FileLock(Path(tempfile.gettempdir()) / f"trickbook-worker-{sweep_id}-{number}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            number += 1
        else:
            return number, lock
