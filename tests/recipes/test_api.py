"""Fine-tuning from a config: the splits that are read, and a run that is finished already."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes import api
from recipes.api import finetune_config
from recipes.runtime.memory import resident_bytes
from recipes.testing import in_child, tiny_config, tiny_splits


@pytest.mark.parametrize("test", [True, False])
def test_the_test_split_is_read_only_if_it_is_scored(
    test: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def read_splits(*arguments: Any) -> None:
        calls.append(arguments)
        raise InterruptedError

    monkeypatch.setattr(api, "read_splits", read_splits)
    config = tiny_config(f"evaluate.test={str(test).lower()}")
    with pytest.raises(InterruptedError):
        finetune_config(config, tmp_path / "run")
    assert calls == [(config.data, config.evaluate.extra, test)]


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    monkeypatch.setattr(api, "read_splits", lambda *arguments: tiny_splits(config))
    monkeypatch.setattr(api, "train", lambda config, splits, folder: (folder / "metrics.json").write_text("{}"))
    run = finetune_config(config, tmp_path / "run")
    monkeypatch.setattr(api, "train", None)
    assert finetune_config(config, tmp_path / "run") == run


@pytest.mark.slow
def test_twenty_runs_in_one_process_leave_no_tensor_behind(tmp_path: Path) -> None:
    def work() -> tuple[list[int], list[int]]:
        tensors, megabytes = [], []
        for seed in range(20):
            finetune_config(tiny_config("train.max_updates=2", f"seed={seed}", "+tricks=[ema]"), tmp_path / str(seed))
            gc.collect()
            tensors.append(sum(isinstance(each, torch.Tensor) for each in gc.get_objects()))
            megabytes.append(resident_bytes() >> 20)
        return tensors, megabytes

    tensors, megabytes = in_child(work)
    # The first runs import modules and fill caches.
    assert max(tensors[3:]) == min(tensors[3:])
    assert megabytes[-1] - megabytes[5] < 10
