"""A limit on memory: what may be asked for, and when it is said to be passed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.data.batch import Batch, Outcome
from recipes.errors import UserError
from recipes.runtime import memory
from recipes.runtime.memory import PeakMemory, in_bytes, in_use, limit, measure_saved_tensors
from recipes.testing import in_child, tiny_config, tiny_run


@pytest.mark.parametrize(("told", "wanted"), [("0.5", 500), ("1", 1000), ("2GB", 2 * 10**9), ("1.5 KiB", 1536)])
def test_a_share_or_bytes(told: str, wanted: int) -> None:
    assert in_bytes(told, 1000) == wanted


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "3 bananas"])
def test_neither(wrong: str) -> None:
    with pytest.raises(UserError, match=f"--memory-limit={wrong}: give a share above 0"):
        in_bytes(wrong, 1000)


def test_what_is_held_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with limit(str(in_use() + 2**30)) as check:
        check("lower it")
        monkeypatch.setattr("recipes.runtime.memory.in_use", lambda: 2**50)
        with pytest.raises(UserError, match=r"1,073,741,824 MB are held, [\d,]+ MB allowed; lower it\."):
            check("lower it")
    with limit(None) as check:
        check("lower it")


def test_less_than_the_program_takes() -> None:
    with (
        pytest.raises(UserError, match="that is what the program takes before it has read a row: allow more"),
        limit("1MB"),
    ):
        pass


def test_what_waits_for_the_backward_pass() -> None:
    weight = torch.ones(1000, requires_grad=True)
    with measure_saved_tensors([weight]) as most:
        assert most() == 0
        first = (2 * weight).exp()  # keeps what it gives, 4 bytes each
        assert most() == 4000
        (first.sin() + first.cos()).sum().backward()  # both keep what they take: the same again
        assert most() == 4000
        del first
        (2 * weight).exp().sum().backward()  # what is over is not added
        assert most() == 4000
        (weight * weight).sum().backward()  # a weight is there anyway
        assert most() == 4000
        (2 * weight).exp().exp().sum().backward()
        assert most() == 8000


def test_an_update_that_does_not_fit_offers_the_trick(tmp_path: Path) -> None:
    def said() -> str:
        run = tiny_run(tiny_config(), tmp_path, tmp_path)

        def full(batch: Batch) -> Outcome:
            raise torch.OutOfMemoryError("CUDA out of memory")

        run.seams.objective = full  # type: ignore[method-assign]
        with pytest.raises(UserError) as caught:
            run.fit()
        return str(caught.value)

    assert "an update of 8 rows" in in_child(said) and "tricks.accumulate.part_size=null" in in_child(said)


def test_an_evaluation_that_does_not_fit_is_halved(tmp_path: Path) -> None:
    def sizes() -> tuple[list[int], bool]:
        run = tiny_run(tiny_config(), tmp_path, tmp_path)
        whole = run.predictions(run.validation).probabilities
        predict, seen = run.seams.predict, []

        def small(batch: Batch) -> torch.Tensor:
            seen.append(len(batch))
            if len(batch) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return predict(batch)

        run.seams.predict = small  # type: ignore[method-assign]
        return seen, bool(np.allclose(run.predictions(run.validation).probabilities, whole, atol=1e-6))

    seen, same = in_child(sizes)
    assert same and seen[:3] == [16, 8, 4] and max(seen[2:]) == 4


def test_one_row_that_does_not_fit_is_told(tmp_path: Path) -> None:
    def said() -> str:
        run = tiny_run(tiny_config(), tmp_path, tmp_path)

        def full(batch: Batch) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

        run.seams.predict = full  # type: ignore[method-assign]
        with pytest.raises(UserError) as caught:
            run.predictions(run.validation)
        return str(caught.value)

    assert "memory does not hold 1 validation rows at once" in in_child(said)


# The most memory of a run: its own, not that of what the process did before.

CPU = torch.device("cpu")


def after_holding(megabytes: int) -> float:
    peak = PeakMemory()
    torch.ones(megabytes, 2**18)
    return float(peak.cost(CPU)["peak_memory_mb"])


@pytest.mark.skipif(not memory.FORGET.exists(), reason="this system does not forget")
def test_a_small_run_after_a_large_one_has_a_small_peak() -> None:
    large, small = in_child(lambda: (after_holding(300), after_holding(0)))
    assert 290 < large - small < 310


def test_where_the_system_does_not_forget_the_figure_is_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "FORGET", tmp_path / "none" / "clear_refs")
    cost = PeakMemory().cost(CPU)
    assert cost["peak_memory_of"] == "process"
    assert cost["peak_memory_mb"] > 10


def test_a_run_s_own_figure_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("VmPeak:\t 9 kB\nVmHWM:\t  5120 kB\nVmRSS:\t 7 kB\n")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "FORGET", tmp_path / "clear_refs")
    assert PeakMemory().cost(CPU) == {"peak_memory_mb": 5.0, "peak_memory_of": "run"}
    assert (tmp_path / "clear_refs").read_text() == "5"
