"""Stages before the first update: resumed to the bit, cached by content, and refused where they cannot be trained."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes.api import finetune_config
from recipes.config import Config
from recipes.errors import DIVERGED, UserError
from recipes.runs import checkpoint
from recipes.runtime.signals import Interrupted
from recipes.testing import (
    comparable_contents,
    copy_weights,
    difference,
    fork,
    in_child,
    make_text_file,
    temporary_folder,
    tiny_config,
    tiny_run,
)
from recipes.toolkit import pretraining
from recipes.toolkit.pretraining import StageTraining
from tests.sampling import slow

BOTH = ("+tricks=[contrastive,mlm]", "tricks.contrastive.epochs=6", "tricks.mlm.epochs=6", "train.max_updates=6")


def config(*overrides: str) -> Config:
    return tiny_config(*BOTH, *overrides)


def own_cache(folder: Path) -> None:
    """Nothing that another run has left may be used: only in a child process."""
    os.environ["TRICKBOOK_CACHE"] = str(folder)


def stop_after(name: str, update: int, number: int) -> None:
    """Send this process a signal after an update of a stage: only in a child process."""
    step = StageTraining.step

    def step_and_signal(self: StageTraining) -> None:
        step(self)
        if (self.name, self.done) == (name, update):
            os.kill(os.getpid(), number)

    StageTraining.step = step_and_signal  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with both stages."""
    folder = tmp_path_factory.mktemp("stages")

    def finish() -> None:
        own_cache(folder / "cache")
        finetune_config(config(), folder / "run")

    in_child(finish)
    return folder / "run"


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "update"),
    [
        slow("mlm", 7),
        pytest.param("mlm", 1, marks=SLOW),
        pytest.param("contrastive", 1, marks=SLOW),
        ("contrastive", 5),
    ],
)
def test_killed_inside_a_stage_and_resumed_is_not_killed(
    name: str, update: int, uninterrupted: Path, tmp_path: Path
) -> None:
    def killed() -> None:
        own_cache(tmp_path / "cache")
        stop_after(name, update, signal.SIGKILL)
        finetune_config(config(), tmp_path / "run")

    def resumed() -> None:
        own_cache(tmp_path / "other cache")  # another machine that has the folder alone
        finetune_config(config(), tmp_path / "run")

    with pytest.raises(ChildProcessError):
        in_child(killed)
    # The checkpoint of the update before is there; that of the killed one is not.
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*"))
    assert kept == ([f"{name}.safetensors"] if update > 1 else [])
    in_child(resumed)
    assert comparable_contents(tmp_path / "run") == comparable_contents(uninterrupted)


@pytest.mark.slow
def test_a_signal_saves_a_checkpoint_even_if_little_would_be_lost(uninterrupted: Path, tmp_path: Path) -> None:
    long = config("checkpoint.min_seconds=1000")

    def stopped() -> str:
        own_cache(tmp_path / "cache")
        stop_after("mlm", 4, signal.SIGTERM)
        try:
            finetune_config(long, tmp_path / "run")
        except Interrupted as error:
            return str(error)
        raise AssertionError("the run was not stopped")

    def resumed() -> list[int]:
        own_cache(tmp_path / "other cache")
        first: list[int] = []
        step = StageTraining.step

        def note(self: StageTraining) -> None:
            first.append(self.done)
            step(self)

        StageTraining.step = note  # type: ignore[method-assign]
        finetune_config(long, tmp_path / "run")
        return first

    assert in_child(stopped) == "Stopped after update 4 of mlm; the same command goes on."
    assert in_child(resumed)[0] == 4
    assert comparable_contents(tmp_path / "run") == comparable_contents(uninterrupted)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_not_used(uninterrupted: Path, tmp_path: Path) -> None:
    def killed() -> None:
        own_cache(tmp_path / "cache")
        stop_after("mlm", 3, signal.SIGKILL)
        finetune_config(config(), tmp_path / "run")

    def resumed() -> None:
        own_cache(tmp_path / "cache")
        path = tmp_path / "run" / "checkpoints" / "mlm.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        finetune_config(config(), tmp_path / "run")

    with pytest.raises(ChildProcessError):
        in_child(killed)
    in_child(resumed)
    assert comparable_contents(tmp_path / "run") == comparable_contents(uninterrupted)


def prepare(folder: Path, settings: Config, lines: list[str]) -> tuple[dict[str, np.ndarray], float]:
    """Set up a run and train its stages, without the updates after them."""
    run = tiny_run(settings, folder)
    run.say = lines.append  # type: ignore[method-assign]
    run.seams.pretrain()
    return copy_weights(run), run.rows_passed


@pytest.mark.slow
def test_the_same_stage_is_taken_from_the_cache_to_the_bit() -> None:
    def train() -> None:
        with temporary_folder() as folder:
            own_cache(folder / "cache")
            first, second = list[str](), list[str]()
            weights, rows = prepare(folder, config(), first)
            again, rows_again = prepare(folder, config("train.learning_rate=1e-5"), second)
            assert difference(weights, again) == 0 and rows == rows_again
            assert sum("are in the cache, and are used" in line for line in second) == 2
            assert not any("are in the cache" in line for line in first)

    in_child(train)


def test_a_damaged_cache_is_made_again_and_a_cached_stage_costs_what_it_did() -> None:
    def train() -> None:
        with temporary_folder() as folder:
            own_cache(folder / "cache")
            one_stage = tiny_config("+tricks=[mlm]", "tricks.mlm.epochs=1")
            weights, seconds = train_stage(folder, one_stage)
            (file,) = (folder / "cache").rglob("*.safetensors")
            file.write_bytes(b"cut")
            again, _ = train_stage(folder, one_stage)
            assert difference(weights, again) == 0 and file.stat().st_size > 1000
            _, cached_seconds = train_stage(folder, one_stage)
            assert seconds == 0 < cached_seconds

    def train_stage(folder: Path, chosen: Config) -> tuple[dict[str, np.ndarray], float]:
        run = tiny_run(chosen, folder)
        run.seams.pretrain()
        return copy_weights(run), run.seconds

    in_child(train)


OTHERS = (
    ("seed=1",),
    ("seeds.dropout=1",),
    ("seeds.init=1",),
    ("tricks.mlm.probability=0.2", "tricks.contrastive.warmup=0.2"),
    ("tricks.mlm.epochs=3", "tricks.contrastive.epochs=3"),
    ("train.clip_norm=0.5",),
    ("model.dropout=0.2",),
    (f"data.train={make_text_file(12, 5)}",),
)


@pytest.mark.slow
def test_other_texts_settings_models_and_seeds_are_other_entries() -> None:
    def train() -> None:
        short = ("tricks.mlm.epochs=2", "tricks.contrastive.epochs=2")
        with temporary_folder() as folder:
            own_cache(folder / "cache")
            prepare(folder, config(*short), [])
            for overrides in OTHERS:
                lines: list[str] = []
                prepare(folder, config(*short, *overrides), lines)
                assert not any("are in the cache" in line for line in lines), overrides

    in_child(train)


@pytest.mark.slow
def test_more_texts_in_the_file_are_another_entry() -> None:
    def train() -> None:
        with temporary_folder() as folder:
            own_cache(folder / "cache")
            file, lines = folder / "more.txt", list[str]()
            for content in ("one more\n", "one more\nand another\n"):
                file.write_text(content, encoding="utf-8")
                prepare(folder, config(f"tricks.mlm.file={file}"), lines)
            assert not any("are in the cache" in line for line in lines), lines

    in_child(train)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_time_only(uninterrupted: Path, tmp_path: Path) -> None:
    def run() -> None:
        own_cache(tmp_path / "cache")
        (tmp_path / "cache" / "trickbook").mkdir(parents=True)
        (tmp_path / "cache" / "trickbook" / "pretraining").write_text("a file stands here", encoding="utf-8")
        finetune_config(config(), tmp_path / "run")

    in_child(run)
    assert comparable_contents(tmp_path / "run") == comparable_contents(uninterrupted)


def test_the_oldest_results_leave_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate(("new", "old", "oldest")):
        path = tmp_path / f"{name}.safetensors"
        checkpoint.write(path, {"weights": torch.zeros(1000)}, {})
        os.utime(path, (1000 - age, 1000 - age))
    size = path.stat().st_size
    monkeypatch.setattr(pretraining, "MOST_BYTES", 2 * size)
    pretraining._remove_oldest(tmp_path)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["new", "old"]


def refusal(settings: Config, change: Callable[[Any], None] = lambda run: None) -> str:
    def train() -> str:
        with temporary_folder() as folder:
            own_cache(folder / "cache")
            run = tiny_run(settings, folder)
            change(run)
            with pytest.raises(UserError) as caught:
                run.seams.pretrain()
            return str(caught.value)

    return fork(train)


def test_a_stage_that_diverges_is_a_failed_run_with_the_setting_to_lower() -> None:
    def break_weights(run: Any) -> None:
        next(run.bare_model.parameters()).data.fill_(float("nan"))

    for name in ("contrastive", "mlm"):
        message = refusal(tiny_config(f"+tricks=[{name}]"), break_weights)
        assert message.startswith(f"{DIVERGED}: the gradient of update 1 of {name} contains NaN or inf")
        assert f"Lower tricks.{name}.learning_rate" in message


def test_frozen_weights_cannot_be_trained() -> None:
    def freeze(run: Any) -> None:
        run.bare_model.requires_grad_(False)

    assert "tricks.contrastive: all weights are frozen" in refusal(tiny_config("+tricks=[contrastive]"), freeze)


def test_memory_that_runs_out_names_the_setting() -> None:
    def run_out(run: Any) -> None:
        def forward(**inputs: Any) -> None:
            raise torch.OutOfMemoryError

        run.bare_model.forward = forward

    message = refusal(tiny_config("+tricks=[contrastive]"), run_out)
    assert "tricks.contrastive: memory does not hold an update; set a smaller tricks.contrastive.batch_size" in message


def test_the_learning_rate_rises_and_falls_and_weights_decay_as_in_the_loop() -> None:
    """A stage of one parameter against AdamW by hand."""

    def train() -> float:
        with temporary_folder() as folder:
            own_cache(folder / "cache")
            run = tiny_run(tiny_config("+tricks=[mlm]", "train.clip_norm=1.0"), folder)
            weight = torch.nn.Linear(3, 2, bias=False)
            goal = torch.arange(6.0).view(2, 3)
            own = torch.nn.Parameter(weight.weight.detach().clone())

            def plan(epoch: int) -> list[np.ndarray]:
                return [np.array([2 * epoch, 1]), np.array([2 * epoch])]

            def loss(rows: np.ndarray, epoch: int, index: int) -> torch.Tensor:
                assert rows.tolist() == [2 * epoch, 1][: 2 - index]
                return ((weight.weight - goal) ** 2).sum()

            stage = pretraining.Stage(run.tricks["mlm"], weight, plan, loss, 3.0, 5, [], 0.1, 0.25)
            pretraining.train_stage(run, stage)
            optimizer = torch.optim.AdamW([own], lr=0.1, weight_decay=run.config.train.weight_decay)
            for update in range(5):
                ((own - goal) ** 2).sum().backward()
                torch.nn.utils.clip_grad_norm_([own], 1.0)
                progress = (update + 0.5) / 5
                factor = progress / 0.25 if progress < 0.25 else (1 - progress) / 0.75
                optimizer.param_groups[0]["lr"] = 0.1 * factor
                optimizer.step()
                optimizer.zero_grad()
            assert run.rows_passed == 2 + 1 + 2 + 1 + 2
            return float((own - weight.weight).detach().abs().max())

    assert in_child(train) < 1e-6
