"""Fine-tuning from a config: the splits that are read, and a run that is finished already."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes import pipeline
from recipes.api import finetune_config
from recipes.data import splits
from recipes.loop import TrainingRun
from recipes.reports import results
from recipes.runs.folder import is_finished
from recipes.runtime.memory import resident_bytes
from recipes.testing import in_child, tiny_config, tiny_splits


def write_scores(folder: Path) -> None:
    """Finish a run at once, as earlier versions did."""
    (folder / "metrics.json").write_text('{"weights": "last", "candidates": {}}')


@pytest.mark.parametrize("test", [True, False])
def test_the_test_split_is_read_only_if_it_is_scored(
    test: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def read_splits(*arguments: Any) -> None:
        calls.append(arguments)
        raise InterruptedError

    monkeypatch.setattr(splits, "read_splits", read_splits)
    config = tiny_config(f"evaluate.test={str(test).lower()}")
    with pytest.raises(InterruptedError):
        finetune_config(config, tmp_path / "run")
    assert calls == [(config.data, config.evaluate.extra, test)]


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    monkeypatch.setattr(splits, "read_splits", lambda *arguments: tiny_splits(config))
    monkeypatch.setattr(pipeline, "train", lambda config, splits, folder: write_scores(folder))
    run = finetune_config(config, tmp_path / "run")
    monkeypatch.setattr(pipeline, "train", None)
    assert finetune_config(config, tmp_path / "run") == run


def test_a_run_that_is_stopped_after_its_scores_is_completed_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores come first; pictures, card and manifest come after them, and are complete when a start ends."""
    config, folder = tiny_config("train.max_updates=2"), tmp_path / "run"

    def stop(*arguments: Any) -> None:
        shown.append(capsys.readouterr().out)
        raise KeyboardInterrupt

    shown: list[str] = []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(results, "draw_learning_curve", stop)
        finetune_config(config, folder)
    assert f"run: {config.data.train} · tiny · no tricks · seed 0 · 2 updates -> {folder}" in shown[0]
    assert "scores: best weights" in shown[0]
    assert not is_finished(folder)

    monkeypatch.setattr(TrainingRun, "_step", None)  # nothing is trained again
    finetune_config(config, folder)
    assert is_finished(folder)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert {"learning_curve.png", "confusion_matrix.png", "model/README.md", "predictions/validation.csv"} <= files


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
