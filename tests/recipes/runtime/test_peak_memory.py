"""The most memory of a run: its own, not that of what the process did before."""

from pathlib import Path

import pytest
import torch

from recipes.runtime import memory, peak_memory
from recipes.runtime.memory import PeakMemory
from recipes.testing import in_child

CPU = torch.device("cpu")


def after_holding(megabytes: int) -> float:
    memory = PeakMemory()
    torch.ones(megabytes, 2**18)
    return float(memory.cost(CPU)["peak_memory_mb"])


@pytest.mark.skipif(not memory.FORGET.exists(), reason="this system does not forget")
def test_a_small_run_after_a_large_one_has_a_small_peak() -> None:
    large, small = in_child(lambda: (after_holding(300), after_holding(0)))
    assert 290 < large - small < 310


def test_where_the_system_does_not_forget_the_figure_is_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_memory, "FORGET", tmp_path / "none" / "clear_refs")
    cost = PeakMemory().cost(CPU)
    assert cost["peak_memory_of"] == "process"
    assert cost["peak_memory_mb"] > 10


def test_a_run_s_own_figure_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("VmPeak:\t 9 kB\nVmHWM:\t  5120 kB\nVmRSS:\t 7 kB\n")
    monkeypatch.setattr(peak_memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(peak_memory, "FORGET", tmp_path / "clear_refs")
    assert PeakMemory().cost(CPU) == {"peak_memory_mb": 5.0, "peak_memory_of": "run"}
    assert (tmp_path / "clear_refs").read_text() == "5"
