"""Memory: limits, saved tensors, what happens when it runs out, and the peak of a run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.data.batch import Batch, Outcome
from recipes.errors import UserError
from recipes.runtime import memory
from recipes.runtime.memory import PeakMemory, limit_memory, measure_saved_tensors, parse_limit, resident_bytes
from recipes.testing import in_child, tiny_config, tiny_run


@pytest.mark.parametrize(("text", "expected"), [("0.5", 500), ("1", 1000), ("2GB", 2 * 10**9), ("1.5 KiB", 1536)])
def test_a_limit_is_a_fraction_or_bytes(text: str, expected: int) -> None:
    assert parse_limit(text, 1000) == expected


@pytest.mark.parametrize("text", ["0", "-1", "many", "3 bananas"])
def test_another_limit_is_a_user_error(text: str) -> None:
    with pytest.raises(UserError, match=f"--memory-limit={text}: give a fraction above 0"):
        parse_limit(text, 1000)


def test_more_than_the_limit_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with limit_memory(str(resident_bytes() + 2**30)) as check:
        check("lower it")
        monkeypatch.setattr("recipes.runtime.memory.resident_bytes", lambda: 2**50)
        with pytest.raises(UserError, match=r"1,073,741,824 MB are used, [\d,]+ MB allowed; lower it\."):
            check("lower it")
    with limit_memory(None) as check:
        check("lower it")


def test_a_limit_below_the_program_s_own_need_is_a_user_error() -> None:
    with (
        pytest.raises(UserError, match="the program needs that much before it has read a row: allow more"),
        limit_memory("1MB"),
    ):
        pass


def test_the_peak_of_saved_tensors_is_measured() -> None:
    weight = torch.ones(1000, requires_grad=True)
    with measure_saved_tensors([weight]) as peak:
        assert peak() == 0
        first = (2 * weight).exp()  # saves its output, 4 bytes a number
        assert peak() == 4000
        (first.sin() + first.cos()).sum().backward()  # both save their input, which is counted already
        assert peak() == 4000
        del first
        (2 * weight).exp().sum().backward()  # the tensors before are free by now
        assert peak() == 4000
        (weight * weight).sum().backward()  # weights are not counted
        assert peak() == 4000
        (2 * weight).exp().exp().sum().backward()
        assert peak() == 8000


def test_an_update_that_does_not_fit_suggests_the_trick_accumulate(tmp_path: Path) -> None:
    def message() -> str:
        run = tiny_run(tiny_config(), tmp_path, tmp_path)

        def run_out(batch: Batch) -> Outcome:
            raise torch.OutOfMemoryError("CUDA out of memory")

        run.seams.objective = run_out  # type: ignore[method-assign]
        with pytest.raises(UserError) as caught:
            run.fit()
        return str(caught.value)

    assert "an update of 8 rows" in in_child(message)
    assert "tricks.accumulate.part_size=null" in in_child(message)


def test_an_evaluation_that_does_not_fit_halves_its_batches(tmp_path: Path) -> None:
    def sizes() -> tuple[list[int], bool]:
        run = tiny_run(tiny_config(), tmp_path, tmp_path)
        expected = run.predictions(run.validation).probabilities
        predict, tried = run.seams.predict, list[int]()

        def predict_small(batch: Batch) -> torch.Tensor:
            tried.append(len(batch))
            if len(batch) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return predict(batch)

        run.seams.predict = predict_small  # type: ignore[method-assign]
        return tried, bool(np.allclose(run.predictions(run.validation).probabilities, expected, atol=1e-6))

    tried, is_same = in_child(sizes)
    assert is_same and tried[:3] == [16, 8, 4] and max(tried[2:]) == 4


def test_a_single_row_that_does_not_fit_is_a_user_error(tmp_path: Path) -> None:
    def message() -> str:
        run = tiny_run(tiny_config(), tmp_path, tmp_path)

        def run_out(batch: Batch) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

        run.seams.predict = run_out  # type: ignore[method-assign]
        with pytest.raises(UserError) as caught:
            run.predictions(run.validation)
        return str(caught.value)

    assert "memory does not hold 1 validation rows at once" in in_child(message)


# The peak memory of a run: its own, not that of earlier runs of the process.

CPU = torch.device("cpu")


def measure_peak_of(megabytes: int) -> float:
    peak = PeakMemory()
    torch.ones(megabytes, 2**18)
    return float(peak.cost(CPU)["peak_memory_mb"])


@pytest.mark.skipif(not memory.CLEAR_REFS.exists(), reason="this system cannot reset its peak")
def test_a_small_run_after_a_large_one_has_a_small_peak() -> None:
    large, small = in_child(lambda: (measure_peak_of(300), measure_peak_of(0)))
    assert 290 < large - small < 310


def test_without_a_reset_the_peak_is_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "none" / "clear_refs")
    cost = PeakMemory().cost(CPU)
    assert cost["peak_memory_of"] == "process"
    assert cost["peak_memory_mb"] > 10


def test_with_a_reset_the_peak_is_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("VmPeak:\t 9 kB\nVmHWM:\t  5120 kB\nVmRSS:\t 7 kB\n")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "clear_refs")
    assert PeakMemory().cost(CPU) == {"peak_memory_mb": 5.0, "peak_memory_of": "run"}
    assert (tmp_path / "clear_refs").read_text() == "5"
