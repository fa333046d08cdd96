"""Each worker of a sweep gets a GPU of its own, and another one's choice is respected."""

import os
import tempfile
from pathlib import Path

import pytest
import torch

from recipes.runtime import workers
from recipes.runtime.workers import deal_gpu

SWEEP = 1


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    workers._claim_number.cache_clear()


def deal_to(worker: int, monkeypatch: pytest.MonkeyPatch, device: str = "auto") -> str | None:
    """The GPU of a worker, which is stood in for by its process number."""
    monkeypatch.setattr(workers, "getpid", lambda: worker)
    deal_gpu(SWEEP, device)
    # Each process has an environment of its own.
    return os.environ.pop("CUDA_VISIBLE_DEVICES", None)


def test_gpus_are_dealt_in_turn_and_a_worker_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    dealt = [deal_to(worker, monkeypatch) for worker in (11, 12, 13, 11)]
    assert dealt == ["0", "1", "0", "0"]


def test_a_new_worker_gets_the_gpu_of_a_dead_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for worker in (11, 12):
        deal_to(worker, monkeypatch)
    workers._claim_number(SWEEP, 12)[1].release()
    assert deal_to(13, monkeypatch) == "1"


def test_the_process_of_the_sweep_and_a_chosen_device_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deal_to(SWEEP, monkeypatch) is None
    assert deal_to(11, monkeypatch, device="cuda") is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert deal_to(11, monkeypatch) is None


@pytest.mark.parametrize(("named", "dealt"), [("3", "3"), ("", ""), ("5,7", "5")])
def test_only_gpus_that_the_launcher_allows_are_dealt(named: str, dealt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setattr(workers, "getpid", lambda: 11)
    deal_gpu(SWEEP, "auto")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == dealt
