"""Memory: a limit, kept by the allocator of a GPU and looked at now and then on a CPU; and what to do when it ends."""

import gc
import os
import re
import resource
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recipes.errors import UserError

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def in_bytes(told: str, whole: int) -> int:
    """A share of the whole, or a number of bytes.

    Raises:
        UserError: it is neither.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([A-Za-z]*)", told.strip())
    if not found or found[2].upper() not in UNITS or float(found[1]) == 0:
        raise UserError(f"--memory-limit={told}: give a share above 0 up to 1, such as 0.5, or bytes, such as 4GB.")
    number, unit = float(found[1]), found[2].upper()
    return int(number * whole) if not unit and number <= 1 else int(number * UNITS[unit])


@contextmanager
def limit(told: str | None) -> Iterator[Callable[[str], None]]:
    """Inside this context memory is limited; what it gives raises `UserError` where a CPU has gone over that.

    It takes what would lower the need, for the error to say.
    """
    if told is None:
        yield lambda remedy: None
        return
    if torch.cuda.is_available():
        # Before CUDA is begun, which reads it once.
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, in_bytes(told, whole) / whole))
        try:
            yield lambda remedy: None
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    allowed = in_bytes(told, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))

    def check(remedy: str) -> None:
        if (held := in_use()) > allowed:
            megabytes = f"{held / 2**20:,.0f} MB are held, {allowed / 2**20:,.0f} MB allowed"
            raise UserError(f"--memory-limit={told}: {megabytes}; {remedy}.")

    check("that is what the program takes before it has read a row: allow more")
    yield check


def in_use() -> int:
    """Bytes that this process holds now (Linux)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def measure_saved_tensors(parameters: Iterable[Tensor]) -> Iterator[Callable[[], int]]:
    """Inside this context what passes keep for their backward ones is added up; what it gives says the most so far.

    Args:
        parameters: what is there anyway and is not counted.
    """
    there = {each.untyped_storage().data_ptr() for each in parameters}
    held: Counter[int] = Counter()
    bytes_now = most = 0

    def release(place: int, size: int) -> None:
        nonlocal bytes_now
        held[place] -= 1
        bytes_now -= 0 if held[place] else size

    def keep(tensor: Tensor) -> SavedTensor:
        nonlocal bytes_now, most
        storage = tensor.untyped_storage()
        place, kept = storage.data_ptr(), SavedTensor(tensor)
        if place not in there:
            held[place] += 1
            bytes_now += storage.nbytes() if held[place] == 1 else 0
            most = max(most, bytes_now)
            weakref.finalize(kept, release, place, storage.nbytes())
        return kept

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept.tensor):
        yield lambda: most


@dataclass(frozen=True, eq=False)
class SavedTensor:
    """A tensor that waits for its backward pass."""

    tensor: Tensor


# Where Linux says what a process holds and has held, and forgets the latter when 5 is written (man 5 proc).
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """The most memory that is held from here on; of the whole process, where the system cannot begin anew."""

    def __init__(self) -> None:
        """Begin anew, without what the process's last run has left to collect."""
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.reset_peak_memory_stats()
        try:
            FORGET.write_text("5")
            self.anew = "VmHWM" in STATUS.read_text()
        except OSError:
            self.anew = False

    def cost(self, device: torch.device) -> dict[str, Any]:
        """What `metrics.json` says of it: megabytes of 2**20 bytes, and whether they are this run's own."""
        if device.type == "cuda":
            most = torch.cuda.max_memory_allocated(device) / 2**20
        elif self.anew:
            most = _held_mb()
        else:
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        own = self.anew or device.type == "cuda"
        return {"peak_memory_mb": round(most, 1), "peak_memory_of": "run" if own else "process"}


def _held_mb() -> float:
    """The most since it was forgotten."""
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    assert found is not None, "it was there when this run began"
    return int(found[1]) / 2**10
