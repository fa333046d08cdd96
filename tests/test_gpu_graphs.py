"""The section of scripts/gpu_check.py about CUDA graphs, rehearsed on the CPU with a small model."""

import io
from contextlib import redirect_stdout

import pytest
import torch

from recipes.testing import in_child


def rehearse() -> list[str]:
    from scripts.gpu import graphs, work

    work.DEVICE = "cpu"
    torch.set_num_threads(1)
    return list(graphs.describe(1.0))


def test_a_stopwatch_times_the_second_half_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates take 100 s each, then 2 s each."""
    from scripts.gpu import graphs, work

    clock = iter([400.0, 408.0])
    monkeypatch.setattr(work, "DEVICE", "cpu")
    monkeypatch.setattr(graphs, "perf_counter", lambda: next(clock))
    watch = graphs.Stopwatch(8)
    for _ in range(8):
        watch.tick()
    assert watch.read().milliseconds == 2000.0


@pytest.mark.slow
def test_the_section_has_a_row_for_each_comparison_and_its_checks() -> None:
    """The first of each kind is made whatever the time; on a CPU replays are exact."""
    with redirect_stdout(io.StringIO()):
        page = "\n".join(in_child(rehearse))
    assert "| none | 0.0e+00 | 0.0e+00 | yes | 9 of 9 | 1 |" in page
    assert "| MiniLM, short texts | " in page and "Trainer / replayed" in page
    assert page.count("passed: ") == 3 and "FAILED" not in page
