"""Randomness is a function, not a stream.

Each draw comes from a generator keyed by what it is for: (seed, purpose, epoch, batch, part, ...). A replayed pass
keeps its draws, turning one trick on moves no other trick's draws, a resumed run needs no saved generator, and two runs
with one seed are truly paired.
"""

import hashlib

import numpy as np
import torch


def key(seed: int, *purpose: object) -> int:
    """A whole number in [0, 2**63) that depends on every argument and on nothing else."""
    text = "\x1f".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """The draws for one purpose; on the CPU, so that every device sees the same."""
    return np.random.default_rng(key(seed, *purpose))


def seed_forward(seed: int, epoch: int, index: int, part: tuple[int, ...] = (), device: str = "cpu") -> None:
    """Key the dropout of the next forward pass: call it right before each one.

    Args:
        seed: the config's `seeds.dropout`.
        epoch: of the batch.
        index: of the batch in its epoch.
        part: of the batch.
        device: where the model is; torch.manual_seed would seed all there are, 60 times as slowly.
    """
    seed_device(key(seed, "dropout", epoch, index, *part), device)


def seed_device(number: int, device: str) -> None:
    """Key what is drawn next on a device."""
    torch.default_generator.manual_seed(number)
    if device == "cuda":
        torch.cuda.manual_seed(number)
    elif device == "mps":
        torch.mps.manual_seed(number)
