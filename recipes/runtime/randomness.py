"""Randomness is a function, not a stream.

Each draw comes from a generator with a key for its purpose: (seed, purpose, epoch, batch, part, ...). So a repeated
pass repeats its draws, a trick does not change the draws of another, and a resumed run needs no saved generator. Two
runs with the same seed share all draws that both make, so they can be compared as a pair.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def key(seed: int, *purpose: object) -> int:
    """Hash the arguments to an integer in [0, 2**63), the same in every process."""
    text = "\x1f".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """Make the generator for one purpose; it draws on the CPU, so that every device gets the same draws."""
    return np.random.default_rng(key(seed, *purpose))


def seed_forward(seed: int, epoch: int, index: int, part: tuple[int, ...] = (), device: str = "cpu") -> None:
    """Seed the dropout of the next forward pass: call it right before each one.

    Args:
        seed: the config's `seeds.dropout`.
        epoch: the epoch of the batch.
        index: the index of the batch in its epoch.
        part: the part of the batch, where a batch is processed in parts.
        device: the type of the model's device; `torch.manual_seed` would seed all devices, 60 times as slowly.
    """
    seed_device(key(seed, "dropout", epoch, index, *part), device)


def seed_device(number: int, device: str) -> None:
    """Seed the next draws on the CPU and on a device."""
    torch.default_generator.manual_seed(number)
    if device == "cuda":
        torch.cuda.manual_seed(number)
    elif device == "mps":
        torch.mps.manual_seed(number)


@contextmanager
def preserved_randomness() -> Iterator[None]:
    """Restore the random states of Python, NumPy and torch on exit: they belong to the program that called."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        for device, gpu_state in enumerate(on_gpu):
            torch.cuda.set_rng_state(gpu_state, device)
