"""The most memory of a run, also where other runs came before it in the same process."""

import gc
import re
import resource
import sys
from pathlib import Path
from typing import Any

import torch

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
