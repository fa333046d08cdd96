"""The section of scripts/gpu_check.py about CUDA graphs, rehearsed on the CPU with a small model."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.gpu import graphs, work

ROOT = Path(__file__).parents[1]


def test_a_stopwatch_times_the_second_half_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight updates; the clock is read after the fourth and after the last."""
    clock = iter([400.0, 408.0])
    monkeypatch.setattr(work, "DEVICE", "cpu")
    monkeypatch.setattr(graphs, "perf_counter", lambda: next(clock))
    watch = graphs.Stopwatch(8)
    for _ in range(8):
        watch.tick()
    assert watch.read().milliseconds == 2000.0


@pytest.mark.slow
def test_the_section_has_a_row_for_each_comparison_and_its_checks(tmp_path: Path) -> None:
    """The first of each kind is made whatever the time; on a CPU replays are exact."""
    page = tmp_path / "page.md"
    command = [sys.executable, "scripts/gpu_check.py", "graphs", "--device", "cpu", "--seconds", "300"]
    subprocess.run([*command, "--output", str(page)], cwd=ROOT, check=True, capture_output=True, timeout=600)
    text = page.read_text(encoding="utf-8")
    assert "| none | 0.0e+00 | 0.0e+00 | yes | 9 of 9 | 1 |" in text
    assert "| MiniLM, short texts | " in text and "Trainer / replayed" in text
    assert text.count("passed: ") == 2 and "- goal " in text and "FAILED" not in text
