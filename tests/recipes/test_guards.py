"""Updates whose gradient is not finite are skipped, not counted, logged; three in a row are an error."""

import json
from collections.abc import Collection
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recipes import guards
from recipes.api import FinishedRun, finetune_config
from recipes.data.batch import Batch, Loss
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.pipeline import fit
from recipes.runs.history import History
from recipes.testing import (
    UPDATES,
    comparable_contents,
    copy_weights,
    difference,
    in_child,
    kill_after,
    tiny_config,
    tiny_run,
)


def add_infinite_gradients(run: TrainingRun, at: Collection[int]) -> None:
    """Make the gradient of these updates infinite, counted from 1."""
    gradient = run.seams.gradient

    def gradient_with_inf(batch: Batch) -> Loss:
        loss = gradient(batch)
        if run.batches_done + 1 in at:
            next(run.bare_model.parameters()).grad.fill_(torch.inf)  # type: ignore[union-attr]
        return loss

    run.seams.gradient = gradient_with_inf  # type: ignore[method-assign]


def fit_with_infinite_gradients(folder: Path, at: Collection[int]) -> TrainingRun:
    run = tiny_run(tiny_config(), folder, folder)
    add_infinite_gradients(run, at)
    run.fit()
    return run


def test_one_is_skipped_and_logged_with_its_rows(tmp_path: Path) -> None:
    def work() -> tuple[int, int, list[dict[str, Any]], list[str]]:
        run = fit_with_infinite_gradients(tmp_path, {5})
        rows = [sorted(batch.ids) for batch in run.seams.batches(run.train, 0)]
        return run.updates, run.batches_done, run.history.read(), rows[4]

    updates, done, history, rows = in_child(work)
    assert (updates, done) == (UPDATES - 1, UPDATES)
    (line,) = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert line == {"update": 5, "ids": rows}
    logged = {each["update"]: each for each in history if "split" not in each}
    assert logged[5]["grad_norm"] is None and logged[6]["grad_norm"] is not None and len(logged) == UPDATES


def test_the_weights_and_the_optimizer_do_not_change(tmp_path: Path) -> None:
    def work() -> float:
        run = tiny_run(tiny_config(), tmp_path, tmp_path)
        batches = run.seams.batches(run.train, 0)
        run._step(batches[0])
        before = copy_weights(run)
        add_infinite_gradients(run, {2})
        run._step(batches[1])
        assert run.optimizer.state_dict()["state"][0]["step"] == 1
        assert all(each.grad is None or not each.grad.any() for each in run.bare_model.parameters())
        return difference(before, copy_weights(run))

    assert in_child(work) == 0


def test_three_in_a_row_end_the_run(tmp_path: Path) -> None:
    def work() -> str:
        with pytest.raises(UserError) as caught:
            fit_with_infinite_gradients(tmp_path, {4, 6, 7, 8})
        return str(caught.value)

    message = in_child(work)
    assert message.startswith("training diverged: 3 updates in a row had no finite gradient and were skipped. Lower ")
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 4


def test_a_weight_that_is_nan_is_named(tmp_path: Path) -> None:
    def work() -> str:
        config = tiny_config()
        run = tiny_run(config, tmp_path, tmp_path)
        with torch.no_grad():
            run.bare_model.bert.encoder.layer[1].output.dense.weight[0, 0] = torch.nan  # type: ignore[union-attr, index]
        with pytest.raises(UserError) as caught:
            fit(run, read_splits(config.data, {}, True))
        return str(caught.value)

    assert "bert.encoder.layer.1.output.dense.weight" in in_child(work)


@pytest.mark.slow
def test_a_run_killed_between_two_skipped_updates_ends_the_same(tmp_path: Path) -> None:
    """Law 5: the count of updates skipped in a row is restored too."""
    at, config = {6, 7, 11, 12}, tiny_config("checkpoint.every=0.17")

    def finetune_or_die(folder: Path, dies_at: int) -> FinishedRun:
        initialize = TrainingRun.__init__

        def initialize_with_inf(run: TrainingRun, *arguments: Any) -> None:
            initialize(run, *arguments)
            add_infinite_gradients(run, at)

        TrainingRun.__init__ = initialize_with_inf  # type: ignore[method-assign]
        kill_after(dies_at)
        return finetune_config(config, folder)

    in_child(partial(finetune_or_die, tmp_path / "uninterrupted", 0))
    for dies_at in (7, 12):
        with pytest.raises(ChildProcessError):
            in_child(partial(finetune_or_die, tmp_path / "killed", dies_at))
    in_child(partial(finetune_or_die, tmp_path / "killed", 0))
    assert comparable_contents(tmp_path / "uninterrupted") == comparable_contents(tmp_path / "killed")
    lines = [(tmp_path / name / "skipped.jsonl").read_text() for name in ("uninterrupted", "killed")]
    assert lines[0] == lines[1] and np.array_equal(
        [json.loads(line)["update"] for line in lines[0].splitlines()], [6, 7, 11, 12]
    )


@pytest.mark.parametrize(("scale", "skipped"), [(1.0, 0), (2.0, 0), (0.5, 3)])
def test_a_skipped_update_counts_only_if_the_loss_scale_is_below_one(
    scale: float, skipped: int, tmp_path: Path
) -> None:
    """Two updates in a row were skipped before. With a scale below 1 the gradient itself is too large."""
    run: Any = SimpleNamespace(
        accelerator=SimpleNamespace(scaler=SimpleNamespace(get_scale=lambda: scale), is_main_process=True),
        skipped=2,
        folder=tmp_path,
        config=SimpleNamespace(train=SimpleNamespace(learning_rate=1e-3)),
        say=lambda text: None,
    )
    update = guards.Update(10, ["b", "a", "b"], torch.tensor(torch.inf))
    with pytest.raises(guards.Diverged) if skipped == 3 else nullcontext():
        guards.check_update(run, update, succeeded=False)
    assert run.skipped == skipped


def test_later_skips_are_forgotten_by_batches_and_not_by_steps(tmp_path: Path) -> None:
    """Seven batches and five steps are done, so only the line of update 8 is dropped."""
    history = History(tmp_path / guards.SKIPPED)
    history.append([{"update": number, "ids": []} for number in (3, 6, 7, 8)])
    run: Any = SimpleNamespace(folder=tmp_path, updates=5, batches_done=7)
    guards.forget_later_skips(run)
    assert [line["update"] for line in history.read()] == [3, 6, 7]
