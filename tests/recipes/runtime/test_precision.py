"""The fastest precision: of a GPU by its generation, of a CPU by a measurement that is made once."""

import json
from pathlib import Path

import pytest
import torch

from recipes.runtime import precision
from recipes.runtime.precision import LIMIT, Measurement, exact_products, fastest_on_gpu, measure_once

# The session's fixture replaces it.
measure_cpu = precision.measure_cpu


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_without_bf16_takes_fp16(native: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert fastest_on_gpu() == expected


RATIOS = [(0.66, "bf16"), (0.84, "bf16"), (0.85, "fp32"), (1.0, "fp32"), (3.5, "fp32")]


@pytest.mark.parametrize(("ratio", "expected"), RATIOS)
def test_near_a_tie_a_cpu_stays_in_fp32(ratio: float, expected: str) -> None:
    assert LIMIT == 0.85
    assert Measurement(fp32=1.0, bf16=ratio).fastest == expected
    assert Measurement(fp32=0.5, bf16=0.5 * ratio).fastest == expected


def test_a_measurement_times_both_and_moves_no_random_draw() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    measured = measure_cpu()
    assert torch.equal(torch.rand(3), expected)
    assert 0 < measured.fp32 < 10 and 0 < measured.bf16 < 10


class Clock:
    """Measurements that differ each time: the first is for bf16, all others against it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(precision, "measure_cpu", self.measure)

    def measure(self) -> Measurement:
        self.count += 1
        return Measurement(fp32=1.0, bf16=0.5 if self.count == 1 else 2.0)


def test_all_runs_of_a_machine_have_one_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert [measure_once(tmp_path / "new").fastest for _ in range(3)] == ["bf16"] * 3
    assert clock.count == 1


def test_other_threads_have_a_measurement_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    measure_once(tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert measure_once(tmp_path).fastest == "fp32"
    assert clock.count == 2


@pytest.mark.parametrize("contents", ["", "{", "[]", '{"fp32": 1.0}', "5"])
def test_a_damaged_entry_is_measured_again(contents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    measure_once(tmp_path)
    (entry,) = tmp_path.glob("*.json")
    entry.write_text(contents)
    assert measure_once(tmp_path).fastest == "fp32"
    assert clock.count == 2
    assert json.loads(entry.read_text()) == {"fp32": 1.0, "bf16": 2.0}


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    (tmp_path / "file").write_text("")
    assert measure_once(tmp_path / "file" / "folder").fastest == "bf16"


def test_products_are_exact_inside_and_as_the_user_set_them_afterwards() -> None:
    backend = torch.backends.cuda.matmul
    torch.set_float32_matmul_precision("high")
    try:
        with exact_products():
            assert backend.fp32_precision == "ieee" == torch.backends.mkldnn.matmul.fp32_precision
        assert backend.fp32_precision == "tf32" and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
