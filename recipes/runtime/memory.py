"""Measure and limit memory: saved tensors, the peak of a run, and `--memory-limit`."""

import gc
import os
import re
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from recipes.errors import UserError

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_limit(text: str, total: int) -> int:
    """Convert a memory limit to bytes.

    Args:
        text: a fraction such as `0.5`, or bytes with a unit such as `4GB` or `1.5 GiB`.
        total: the bytes that a fraction refers to.

    Raises:
        UserError: the text is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([A-Za-z]*)", text.strip())
    if not match or match[2].upper() not in UNITS or float(match[1]) == 0:
        raise UserError(f"--memory-limit={text}: give a fraction above 0 up to 1, such as 0.5, or bytes, such as 4GB.")
    number, unit = float(match[1]), match[2].upper()
    return int(number * total) if not unit and number <= 1 else int(number * UNITS[unit])


@contextmanager
def limit_memory(text: str | None) -> Iterator[Callable[[str], None]]:
    """Inside this context memory is limited.

    The allocator of a GPU enforces the limit by itself. On a CPU the caller checks it from time to time.

    Args:
        text: the limit as the user gives it, see `parse_limit`; None for no limit.

    Yields:
        A function that raises `UserError` if the process uses more than the limit. Its argument is the end of the
        message: how to use less memory.
    """
    if text is None:
        yield lambda remedy: None
        return
    if torch.cuda.is_available():
        # CUDA reads this variable once, when it is initialized.
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, parse_limit(text, total) / total))
        try:
            yield lambda remedy: None
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    limit = parse_limit(text, psutil.virtual_memory().total)

    def check(remedy: str) -> None:
        if (used := resident_bytes()) > limit:
            megabytes = f"{used / 2**20:,.0f} MB are used, {limit / 2**20:,.0f} MB allowed"
            raise UserError(f"--memory-limit={text}: {megabytes}; {remedy}.")

    check("the program needs that much before it has read a row: allow more")
    yield check


def resident_bytes() -> int:
    """The memory that this process uses now, in bytes."""
    return int(psutil.Process().memory_info().rss)


@contextmanager
def measure_saved_tensors(parameters: Iterable[Tensor]) -> Iterator[Callable[[], int]]:
    """Inside this context, add up the tensors that forward passes save for their backward passes.

    Args:
        parameters: tensors that are in memory anyway, and are not counted.

    Yields:
        A function that returns the peak so far, in bytes.
    """
    uncounted = {each.untyped_storage().data_ptr() for each in parameters}
    # Several saved tensors can share one storage: it counts once, until the last of them is gone.
    references: Counter[int] = Counter()
    bytes_now = peak = 0

    def release(address: int, size: int) -> None:
        nonlocal bytes_now
        references[address] -= 1
        bytes_now -= 0 if references[address] else size

    def save(tensor: Tensor) -> SavedTensor:
        nonlocal bytes_now, peak
        storage = tensor.untyped_storage()
        address, saved = storage.data_ptr(), SavedTensor(tensor)
        if address not in uncounted:
            references[address] += 1
            bytes_now += storage.nbytes() if references[address] == 1 else 0
            peak = max(peak, bytes_now)
            weakref.finalize(saved, release, address, storage.nbytes())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(save, lambda saved: saved.tensor):
        yield lambda: peak


@dataclass(frozen=True, eq=False)
class SavedTensor:
    """A tensor that waits for its backward pass."""

    tensor: Tensor


# Linux reports the peak memory of a process in the first file, and resets it when 5 is written to the second
# (man 5 proc).
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """The peak memory from now on; of the whole process so far, if the system cannot reset its peak."""

    def __init__(self) -> None:
        # The previous run of this process may have left garbage that would count as ours.
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.reset_peak_memory_stats()
        try:
            CLEAR_REFS.write_text("5", encoding="ascii")
            self.is_reset = "VmHWM" in STATUS.read_text(encoding="utf-8")
        except OSError:
            self.is_reset = False

    def cost(self, device: torch.device) -> dict[str, Any]:
        """The values for `metrics.json`: MB of 2**20 bytes, and whether the peak is of this run or of the process."""
        if device.type == "cuda":
            megabytes = torch.cuda.max_memory_allocated(device) / 2**20
        elif self.is_reset:
            megabytes = _peak_since_reset()
        else:
            megabytes = _peak_of_process()
        is_own = self.is_reset or device.type == "cuda"
        return {"peak_memory_mb": round(megabytes, 1), "peak_memory_of": "run" if is_own else "process"}


def _peak_of_process() -> float:
    """The peak memory of the process since its start, in MB."""
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _peak_since_reset() -> float:
    """The peak memory of the process since the reset, in MB."""
    match = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"))
    assert match is not None, "it was there when this run began"
    return int(match[1]) / 2**10
