"""Fine-tuning from a config or from Python: the splits that are read, finished runs, and calls that disturb nothing."""

import asyncio
import gc
import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import recipes
from recipes import pipeline
from recipes.api import finetune_config
from recipes.data import splits
from recipes.loop import TrainingRun
from recipes.reports import results
from recipes.runs.folder import is_finished
from recipes.runtime.memory import resident_bytes
from recipes.testing import TINY, finished_run, in_child, make_text_file, tiny_config, tiny_splits


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


# Calls from Python.

FEW = (*TINY[1:], "train.max_updates=4", "train.threads=1")
"""The overrides of a short run on the data of a call."""


def read_frame() -> pd.DataFrame:
    """The rows of the generated file, under names of their own and with an index that repeats."""
    frame = pd.read_csv(make_text_file(12)).rename(columns={"text": "review", "label": "stars"})
    return frame.set_index(pd.Index([3] * len(frame)))


def test_rows_in_memory_give_the_results_of_the_same_file_bit_for_bit(tmp_path: Path) -> None:
    frame, file = read_frame(), tmp_path / "reviews.csv"
    frame.to_csv(file, index=False)
    columns = {"text": "review", "label": "stars"}
    of_file = recipes.finetune(
        [*FEW, "data=files", f"data.train={file}", "data.text=review", "data.label=stars"], folder=tmp_path / "file"
    )
    of_frame = recipes.finetune(FEW, train=frame, **columns, tricks={"ema": {"decay": 0.5}}, folder=tmp_path / "frame")
    of_both = recipes.finetune(
        FEW, train=str(file), **columns, tricks=["ema"], tricks__ema__decay=0.5, folder=tmp_path / "both"
    )
    for name in ("predictions/test.csv", "predictions/validation.csv", "model/model.safetensors"):
        assert (of_frame.folder / name).read_bytes() == (of_both.folder / name).read_bytes()
    assert of_frame.metrics["test"] == of_both.metrics["test"] and of_file.metrics["test"] != {}
    one, other = of_frame.config, of_both.config
    assert one["data"].pop("train") != other["data"].pop("train") and one == other
    # The folder has neither the texts nor the columns that were not named.
    text = frame["review"].iloc[0]
    assert not [path for path in of_frame.folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def snapshot() -> dict[str, Any]:
    """The state of this process that belongs to whoever calls."""
    return {
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
    }


def test_calls_leave_the_state_of_the_process_as_it_was(tmp_path: Path) -> None:
    def work() -> list[bool]:
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=7)
        before = snapshot()
        run = recipes.finetune(
            FEW, train=read_frame(), text="review", label="stars", tricks=["amp"], folder=tmp_path / "a"
        )
        same = [snapshot() == before]
        run.predict(["a text"])
        same.append(snapshot() == before)
        diagnosis = recipes.diagnose(run)
        same += [snapshot() == before, diagnosis.health == run.health]
        return [*same, accelerator.gradient_accumulation_steps == 7, accelerator.mixed_precision == "no"]

    assert in_child(work) == [True] * 6


@pytest.mark.slow
def test_calls_work_in_another_thread_and_in_a_running_loop(tmp_path: Path) -> None:
    results: dict[str, Any] = {}

    def call(name: str, seed: int) -> None:
        run = recipes.finetune(FEW, train=read_frame(), text="review", label="stars", seed=seed, folder=tmp_path / name)
        results[name] = (run.folder / "predictions" / "test.csv").read_bytes()

    async def main() -> None:
        call("loop", 0)

    threads = [threading.Thread(target=call, args=(str(seed), seed)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(main())
    assert results["0"] == results["loop"] != results["1"]


@pytest.mark.slow
def test_a_stopped_call_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, updates = TrainingRun._step, list[int]()

    def stop(run: TrainingRun, batch: Any) -> None:
        step(run, batch)
        updates.append(run.batches_done)
        if run.batches_done == 2 and len(updates) == 2:
            signal.raise_signal(signal.SIGINT)

    def call(name: str) -> recipes.FinishedRun:
        return recipes.finetune(FEW, train=read_frame(), text="review", label="stars", folder=tmp_path / name)

    monkeypatch.setattr(TrainingRun, "_step", stop)
    with pytest.raises(KeyboardInterrupt, match="Stopped after update 2; the same command goes on"):
        call("a")
    resumed = call("a")
    assert updates == [1, 2, 3, 4]
    assert (resumed.folder / "model/model.safetensors").read_bytes() == (
        call("b").folder / "model/model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_a_result_is_shown_as_html_and_has_a_page(tmp_path: Path) -> None:
    run = recipes.finetune(FEW, train=read_frame(), text="review", label="stars", folder=tmp_path / "run")
    assert f"{run.metrics['test']['accuracy']:.4f}" in run._repr_html_() == recipes.load(run.folder)._repr_html_()
    assert run.page == run.folder / "report.html" and run.page.read_text(encoding="utf-8").startswith("<!doctype html>")
    predictions = run.predict(read_frame()["review"][:2])
    assert list(predictions.to_frame()["prediction"]) == predictions.names()


def test_mistakes_of_a_call_are_sentences(tmp_path: Path) -> None:
    frame = read_frame()
    with pytest.raises(recipes.UserError, match=r"text='reviews': train has no such column; did you mean review\?"):
        recipes.finetune(train=frame, text="reviews", label="stars")
    with pytest.raises(
        recipes.UserError, match=r"train: 1 of 44 rows have no label \(first: id 2\); label or remove them"
    ):
        recipes.finetune(
            FEW,
            train=frame.assign(stars=[None if row == 2 else "ab"[row % 2] for row in range(44)]),
            text="review",
            label="stars",
            folder=tmp_path / "run",
        )
    with pytest.raises(recipes.UserError, match=r"row 1 of texts \(counted from 0\) holds 5, of type int and no text"):
        recipes.load(finished_run()).predict(["a", 5])  # type: ignore[list-item]
    with pytest.raises(recipes.UserError, match="diagnose: a finished run has its own data and settings"):
        recipes.diagnose("runs/mine", train=frame)
    with pytest.raises(recipes.UserError, match="holds no finished run"):
        recipes.diagnose(tmp_path)
