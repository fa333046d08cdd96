"""Precisions: the one that the hardware computes fastest, and products of fp32 matrices with all their bits."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock
from torch import nn

LIMIT = 0.85
"""bf16 must take less than this fraction of the time of fp32. Near a tie a run stays in fp32."""
ROUNDS = 5
"""Times that each precision is measured, in turns; the fastest counts, since other processes only add time."""
ROWS, TOKENS, HIDDEN = 4, 64, 384
"""Of the batch that is measured, and of the layer: one of MiniLM."""


@dataclass(frozen=True)
class Measurement:
    """Seconds of a forward and backward pass through a layer of an encoder, in each precision."""

    fp32: float
    bf16: float

    @property
    def ratio(self) -> float:
        """Time of bf16 relative to fp32."""
        return self.bf16 / self.fp32

    @property
    def fastest(self) -> str:
        """bf16 if it is clearly faster, else fp32."""
        return "bf16" if self.ratio < LIMIT else "fp32"


def fastest_on_gpu() -> str:
    """Return bf16 if the GPU computes it, else fp16."""
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def measure_once(folder: Path) -> Measurement:
    """Measure this CPU with the present number of threads, or return what was measured on this machine before.

    All runs of a study so get the same answer, in one process or in many.

    Args:
        folder: for the measurements of this machine.
    """
    machine = [platform.node(), platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.__version__]
    key = json.dumps([*machine, torch.get_num_threads(), ROWS, TOKENS, HIDDEN])
    entry = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError):  # without a lock, two processes may measure at once
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(entry.with_suffix(".lock")))
        with suppress(OSError, ValueError, TypeError):  # no entry, or a damaged one
            return Measurement(**json.loads(entry.read_text(encoding="utf-8")))
        measured = measure_cpu()
        with suppress(OSError):  # a cache that cannot be written costs time only
            draft = entry.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(asdict(measured)), encoding="utf-8")
            draft.replace(entry)
    return measured


def measure_cpu() -> Measurement:
    """Time both precisions in turns, after one pass in each that is not timed."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.TransformerEncoderLayer(HIDDEN, 12, 4 * HIDDEN, dtype=torch.float32, batch_first=True)
        inputs = torch.randn(ROWS, TOKENS, HIDDEN, dtype=torch.float32)

        seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
        for number in range(ROUNDS + 1):
            for precision, measured in seconds.items():
                start = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    layer(inputs).float().sum().backward()
                if number:
                    measured.append(time.perf_counter() - start)
    return Measurement(**{precision: min(measured) for precision, measured in seconds.items()})


@contextmanager
def exact_products() -> Iterator[None]:
    """Inside this context products of fp32 matrices are computed in fp32, whatever the user has set for speed.

    TF32 on a GPU, or bf16 on a CPU, rounds so much that a row's result seems to depend on the shape of its batch.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    settings = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, setting in zip(backends, settings, strict=True):
            backend.fp32_precision = setting
