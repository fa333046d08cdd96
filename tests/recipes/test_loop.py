"""The training loop, apart from the laws: when it ends, which errors it raises, how it resumes."""

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recipes import loop
from recipes.config import Config
from recipes.data.batch import Batch
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.metrics import Predictions
from recipes.runs import checkpoint
from recipes.runtime.signals import Interrupted
from recipes.testing import BATCH_SIZE, ROWS, UPDATES, in_child, kill_after, temporary_folder, tiny_config, tiny_run
from tests.sampling import slow

UPDATES_PER_EPOCH = -(-ROWS // BATCH_SIZE)


def call_with_run(config: Config, inspect_run: Callable[[TrainingRun], Any]) -> Any:
    """Set up a tiny run in a child process; return what `inspect_run` returns for it."""

    def work() -> Any:
        with temporary_folder() as folder:
            return inspect_run(tiny_run(config, folder))

    return in_child(work)


@pytest.mark.parametrize(
    ("epochs", "updates"), [("1", 6), ("0.7", 5), ("0.1", 1), ("2.5", 15), ("1.1666666666666667", 7)]
)
def test_part_of_an_epoch_is_rounded_up_and_an_integer_stays(epochs: str, updates: int) -> None:
    assert UPDATES_PER_EPOCH == 6
    config = tiny_config(f"train.epochs={epochs}", "train.max_updates=null")
    assert call_with_run(config, lambda run: run.total_updates) == updates


def read_error(config: Config, break_run: Callable[[TrainingRun], None]) -> str:
    def inspect_run(run: TrainingRun) -> str:
        break_run(run)
        with pytest.raises(UserError) as caught:
            run.fit()
        return str(caught.value)

    return str(call_with_run(config, inspect_run))


def test_predictions_of_nan_end_the_run() -> None:
    def break_run(run: TrainingRun) -> None:
        predict = run.seams.predict
        run.seams.predict = lambda batch: predict(batch) * torch.nan  # type: ignore[method-assign]

    assert "the predictions after update 9 contain NaN or inf. Lower train.learning_rate (now 0.001)" in read_error(
        tiny_config(), break_run
    )


def test_an_absurd_learning_rate_is_reported_as_divergence() -> None:
    assert read_error(tiny_config("train.learning_rate=1e30"), lambda run: None).startswith("training diverged: ")


def test_epochs_of_different_length_are_a_bug_of_the_trick() -> None:
    def inspect_run(run: TrainingRun) -> None:
        batches = run.seams.batches

        def shorten(dataset: Any, epoch: int) -> Any:
            shorter = batches(dataset, epoch)
            shorter.plan = shorter.plan[: len(shorter.plan) - epoch]
            return shorter

        run.seams.batches = shorten  # type: ignore[method-assign]
        with pytest.raises(ValueError, match="5 batches, 6 in the first"):
            run.fit()

    call_with_run(tiny_config(), inspect_run)


@pytest.mark.parametrize("update", [3, UPDATES])
def test_a_signal_saves_a_checkpoint_even_after_the_last_update(update: int) -> None:
    def inspect_run(run: TrainingRun) -> tuple[int, str, int]:
        step = run._step

        def step_and_signal(batch: Batch) -> None:
            step(batch)
            if run.batches_done == update:
                os.kill(os.getpid(), signal.SIGTERM)

        run._step = step_and_signal  # type: ignore[method-assign]
        with pytest.raises(Interrupted) as caught:
            run.fit()
        newest = run.checkpoints.newest(run.history)[1]
        return caught.value.signal_number, str(caught.value), newest["batches_done"]

    assert call_with_run(tiny_config(), inspect_run) == (
        signal.SIGTERM,
        f"Stopped after update {update}; the same command goes on.",
        update,
    )


def stop_at(folder: Path, update: int, config: Config) -> None:
    """Train in a child process, stop after this update, and leave a checkpoint."""

    def work() -> None:
        run = tiny_run(config, folder, folder)
        step = run._step

        def step_and_signal(batch: Batch) -> None:
            step(batch)
            if run.batches_done == update:
                os.kill(os.getpid(), signal.SIGTERM)

        run._step = step_and_signal  # type: ignore[method-assign]
        with pytest.raises(Interrupted):
            run.fit()

    in_child(work)


def resume(folder: Path, config: Config) -> Mapping[str, Any]:
    def work() -> Mapping[str, Any]:
        run = tiny_run(config, folder, folder)
        run._resume()
        return {"at": run.batches_done, "notes": run.notes, "best": run.best}

    return in_child(work)


def test_a_run_does_not_resume_on_changed_data(tmp_path: Path) -> None:
    stop_at(tmp_path, 10, tiny_config())
    assert resume(tmp_path, tiny_config())["at"] == 10
    with pytest.raises(AssertionError, match="the data has changed since .* was begun"):
        resume(tmp_path, tiny_config(longest=13))


@pytest.mark.parametrize("damage", [slow("missing"), "cut", slow("another's")])
@pytest.mark.slow
def test_damaged_best_weights_are_dropped(damage: str, tmp_path: Path) -> None:
    config = tiny_config()
    stop_at(tmp_path, 12, config)
    best = tmp_path / "checkpoints" / "best.safetensors"
    state = resume(tmp_path, config)
    assert state["best"]["update"] == 9
    assert not any("best" in note for note in state["notes"])
    if damage == "missing":
        best.unlink()
    elif damage == "cut":
        best.write_bytes(best.read_bytes()[:-9])
    else:
        stop_at(tmp_path / "another", 20, tiny_config("evaluate.every=1.0", "seed=3"))
        (tmp_path / "another" / "checkpoints" / "best.safetensors").rename(best)
    state = resume(tmp_path, config)
    if damage != "another's":  # weights of a later update are saved again
        assert state["best"] is None
        assert "best.safetensors is damaged" in state["notes"][-1]


def test_a_run_in_another_thread_needs_no_signals() -> None:
    import threading

    def inspect_run(run: TrainingRun) -> int:
        thread = threading.Thread(target=run.fit)
        thread.start()
        thread.join()
        return run.updates

    assert call_with_run(tiny_config("train.max_updates=2"), inspect_run) == 2


@pytest.mark.parametrize(
    ("updates_per_epoch", "every", "total", "expected"),
    [
        (5, 0.5, 10, [2, 5, 8, 10]),
        (5, 0.5, 12, [2, 5, 8, 10, 12]),
        (5, 1.0, 12, [5, 10, 12]),
        (5, 1.5, 20, [8, 15, 20]),
        (6, 1 / 3, 7, [2, 4, 6, 7]),
        (4, 0.1, 4, [1, 2, 3, 4]),
    ],
)
def test_updates_that_are_due_at_a_fraction_of_an_epoch(
    updates_per_epoch: int, every: float, total: int, expected: list[int]
) -> None:
    run: Any = SimpleNamespace(updates_per_epoch=updates_per_epoch, total_updates=total, batches_done=0)
    due = []
    for run.batches_done in range(1, total + 1):
        if TrainingRun._is_due(run, every):
            due.append(run.batches_done)
    assert due == expected


def evaluated_updates(run: TrainingRun) -> list[int]:
    """List the updates after which the history has an evaluation."""
    return [line["update"] for line in run.history.read() if "split" in line]


@pytest.mark.slow
def test_a_run_evaluates_twice_an_epoch_where_updates_are_odd() -> None:
    def inspect_run(run: TrainingRun) -> tuple[int, list[int]]:
        run.fit()
        return run.updates_per_epoch, evaluated_updates(run)

    config = tiny_config("train.batch_size=9", "evaluate.every=0.5", "train.max_updates=12")
    assert call_with_run(config, inspect_run) == (5, [2, 5, 8, 10, 12])


# Early stopping, with fixed scores: the validation accuracy after each evaluated update.

STOPPING = ("evaluate.every=0.5", "evaluate.early_stopping=2")


def fit_with_scores(run: TrainingRun, scores: Mapping[int, float], killed_at: int | None = None) -> dict[str, Any]:
    """Train a run whose evaluations return the given score of their update."""
    loop.measure = lambda predictions: {"accuracy": scores[run.batches_done]}  # type: ignore[attr-defined]
    if killed_at is not None:
        kill_after(killed_at)
    run.fit()
    assert run.best is not None
    return {"end": run.batches_done, "best": run.best["update"], "evaluated": evaluated_updates(run)}


@pytest.mark.parametrize(
    ("scores", "end", "best"),
    [
        # Worse, better, worse, as good as the best: two in a row without improvement.
        ({3: 0.5, 6: 0.4, 9: 0.6, 12: 0.5, 15: 0.6}, 15, 9),
        slow({3: 0.5, 6: 0.4, 9: 0.3}, 9, 3),
        # Never two in a row.
        slow({3: 0.1, 6: 0.2, 9: 0.1, 12: 0.3, 15: 0.2, 18: 0.4, 20: 0.3}, 20, 18),
    ],
)
def test_patience_counts_from_the_last_improvement(scores: dict[int, float], end: int, best: int) -> None:
    result = call_with_run(tiny_config(*STOPPING), lambda run: fit_with_scores(run, scores))
    assert result == {"end": end, "best": best, "evaluated": list(scores)}


@pytest.mark.slow
def test_a_kill_between_two_evaluations_does_not_change_when_early_stopping_ends(tmp_path: Path) -> None:
    """The checkpoint after update 13 knows that the evaluation after update 12 was no improvement."""
    scores = {3: 0.5, 6: 0.4, 9: 0.6, 12: 0.5, 15: 0.6, 18: 0.5, 20: 0.5}
    config = tiny_config(*STOPPING)

    def work(folder: Path, killed_at: int | None = None) -> dict[str, Any]:
        return fit_with_scores(tiny_run(config, tmp_path, folder), scores, killed_at)

    uninterrupted = in_child(lambda: work(tmp_path / "uninterrupted"))
    with pytest.raises(ChildProcessError):
        in_child(lambda: work(tmp_path / "killed", 14))
    assert max(path.stem for path in (tmp_path / "killed" / "checkpoints").glob("0*")) == "00000013"
    assert in_child(lambda: work(tmp_path / "killed")) == uninterrupted
    assert uninterrupted["end"] == 15


@pytest.mark.parametrize(("processes", "expected"), [(1, [8, 4, 2]), (2, [8])])
def test_only_a_single_process_halves_its_prediction_batch(
    processes: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one of many processes halved its batch alone, it would have more batches than the others."""
    sizes = []

    def predict_split(run: TrainingRun, dataset: Any, batch_size: int, accelerator: Any) -> Predictions:
        sizes.append(batch_size)
        if batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Predictions(["0"], ["x"], torch.ones(1, 1).numpy(), torch.ones(1, 1).numpy(), ["x"], False)

    monkeypatch.setattr(loop, "predict_split", predict_split)
    run: Any = SimpleNamespace(accelerator=SimpleNamespace(num_processes=processes), windows_at_once=8)
    if processes == 1:
        TrainingRun.predictions(run, None)  # type: ignore[arg-type]
        assert run.windows_at_once == 2
    else:
        with pytest.raises(UserError, match="memory does not hold 8 validation rows at once"):
            TrainingRun.predictions(run, None)  # type: ignore[arg-type]
    assert sizes == expected


# A step: its counters and its log.


@pytest.mark.slow
def test_max_length_is_the_smaller_of_the_setting_and_the_tokenizer_s() -> None:
    def find_lengths(run: TrainingRun) -> tuple[int, int]:
        return run.max_length, int(run.train.lengths.max())

    assert call_with_run(tiny_config("data.max_length=6"), find_lengths) == (6, 6)
    max_length, longest = call_with_run(tiny_config("data.max_length=100000"), find_lengths)
    assert 6 < longest <= max_length < 100_000


@pytest.mark.slow
def test_tokens_are_cached_for_each_length_and_each_setting_of_a_trick() -> None:
    def tokens(*overrides: str) -> list[list[int]]:
        return call_with_run(
            tiny_config(*overrides),
            lambda run: [run.train.columns["input_ids"].tolist(), run.train.offsets.tolist()],
        )

    truncate = ("+tricks=[truncate]", "data.max_length=6")
    assert tokens("data.max_length=6") != tokens("data.max_length=8")
    assert tokens(*truncate, "tricks.truncate.part=head") != tokens(*truncate, "tricks.truncate.part=tail")


@pytest.mark.parametrize(
    ("trick", "is_plain"), [(None, True), ("ema", True), ("mixup", False), ("label_smoothing", False)]
)
def test_the_loss_is_plain_unless_a_trick_wraps_loss_or_objective(trick: str | None, is_plain: bool) -> None:
    overrides = [f"+tricks=[{trick}]"] if trick else []
    assert call_with_run(tiny_config(*overrides), lambda run: run.is_plain) == is_plain


def test_an_update_logs_only_its_own_numbers() -> None:
    def log_two_updates(run: TrainingRun) -> list[dict[str, Any]]:
        lines, gradient = [], run.seams.gradient
        run.base_rates = [1e-3, 1e-4]
        run.cost_of_pass = 0.0  # a part for each length

        def gradient_with_log(batch: Batch) -> Any:
            if run.batches_done == 0:
                run.log(extra=1.0)
            return gradient(batch)

        run.seams.gradient = gradient_with_log  # type: ignore[method-assign]
        run.console.add_update = lambda **values: lines.append({**values, "factor": run.factor})  # type: ignore
        for batch in list(run.seams.batches(run.train, 0))[:2]:
            run._step(batch)
            lines[-1]["lengths"] = len(set(batch.lengths.tolist()))
        return lines

    first, second = call_with_run(tiny_config(), log_two_updates)
    assert first["extra"] == 1.0 and "extra" not in second
    for line in (first, second):
        assert line["parts"] == line["lengths"] > 1
        assert line["learning_rate"] == 1e-3 * line["factor"]


def test_random_numbers_differ_between_the_parts_of_a_batch() -> None:
    def draw(run: TrainingRun) -> list[list[float]]:
        batch = run.seams.batches(run.train, 0)[0]
        parts = [batch.take(np.arange(2), number) for number in (0, 1, 0)]
        return [run.generator("a purpose", part).random(3).tolist() for part in [batch, *parts]]

    of_batch, first, second, again = call_with_run(tiny_config(), draw)
    assert first == again != second and of_batch not in (first, second)


@pytest.mark.parametrize("work", ["evaluation", "checkpoint"])
def test_evaluations_and_checkpoints_do_not_count_as_training_time(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_two_laps(run: TrainingRun) -> list[float]:
        clock = [10.0]
        monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
        run.lap, predictions = clock[0], run.predictions

        def predict_slowly(dataset: Any) -> Predictions:
            clock[0] += 100
            return predictions(dataset)

        run.predictions = predict_slowly  # type: ignore[method-assign]
        run.checkpoints.save = lambda *arguments: clock.__setitem__(0, clock[0] + 100)  # type: ignore[method-assign]
        clock[0] += 2
        laps = [run._time_lap()]
        run._evaluate() if work == "evaluation" else run._save()
        clock[0] += 3
        return [*laps, run._time_lap(), run.seconds]

    assert call_with_run(tiny_config(), time_two_laps) == [2, 3, 5]


def test_a_single_nan_among_the_predictions_ends_the_run() -> None:
    def add_nan(run: TrainingRun) -> None:
        predict = run.seams.predict

        def predict_with_nan(batch: Batch) -> torch.Tensor:
            probabilities = predict(batch)
            probabilities[0, 0] = torch.nan
            return probabilities

        run.seams.predict = predict_with_nan  # type: ignore[method-assign]

    assert "the predictions after update 9 contain NaN or inf" in read_error(tiny_config(), add_nan)


@pytest.mark.slow
def test_positions_count_batches_after_a_skipped_update(tmp_path: Path) -> None:
    """Update 5 is skipped, so there is one step fewer than batches. The run is stopped after update 8 and resumed."""

    def fit_until_stopped() -> dict[str, Any]:
        run = tiny_run(tiny_config("evaluate.every=0.5"), tmp_path, tmp_path)
        gradient, step, positions = run.seams.gradient, run._step, []

        def gradient_with_inf(batch: Batch) -> Any:
            loss = gradient(batch)
            if run.batches_done + 1 == 5:
                next(run.bare_model.parameters()).grad.fill_(torch.inf)  # type: ignore[union-attr]
            return loss

        def step_and_stop(batch: Batch) -> None:
            positions.append((batch.epoch, batch.index))
            step(batch)
            if run.batches_done == 8:
                os.kill(os.getpid(), signal.SIGTERM)

        run.seams.gradient, run._step = gradient_with_inf, step_and_stop  # type: ignore[method-assign]
        # Each evaluation is the best so far.
        loop.measure = lambda predictions: {"accuracy": run.batches_done / UPDATES}  # type: ignore[attr-defined]
        with suppress(Interrupted):
            run.fit()
        assert run.best is not None
        best = checkpoint.read(tmp_path / "checkpoints" / "best.safetensors")
        assert best is not None
        rates = {line["update"]: line["learning_rate"] for line in run.history.read() if "split" not in line}
        is_best_saved = run.best["update"] == best[1]["update"]
        return {"positions": positions, "is_best_saved": is_best_saved, "rates": rates, "updates": run.updates}

    stopped, resumed = in_child(fit_until_stopped), in_child(fit_until_stopped)
    assert (stopped["updates"], resumed["updates"]) == (7, UPDATES - 1)
    positions = [divmod(number, UPDATES_PER_EPOCH) for number in range(UPDATES)]
    assert stopped["positions"] == positions[:8] and resumed["positions"] == positions[8:]
    assert stopped["is_best_saved"] and resumed["is_best_saved"]
    assert list(resumed["rates"]) == list(range(1, UPDATES + 1))
    # The schedule depends on the number of steps: the update after the skipped one has the same rate.
    assert resumed["rates"][5] == resumed["rates"][6] > resumed["rates"][7]


@pytest.mark.parametrize(
    ("epochs", "updates_per_epoch", "updates"), [(0.55, 100, 55), (0.14, 50, 7), (0.551, 100, 56), (0.001, 10, 1)]
)
def test_a_rounding_error_adds_no_update(epochs: float, updates_per_epoch: int, updates: int) -> None:
    """0.55 times 100 is 55.00000000000001 in floating point."""
    run: Any = SimpleNamespace(
        seams=SimpleNamespace(batches=lambda dataset, epoch: range(updates_per_epoch)),
        train=None,
        config=SimpleNamespace(train=SimpleNamespace(epochs=epochs, max_updates=None)),
    )
    TrainingRun._plan_updates(run)
    assert run.total_updates == updates
