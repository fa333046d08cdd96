"""The console: the header, the lines outside a terminal, the history, and resuming."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from recipes.loop import TrainingRun
from recipes.testing import in_child, tiny_config, tiny_run


def record(update: int, loss: float, **values: Any) -> dict[str, Any]:
    """An update's record as the loop makes it."""
    numbers = {"cross_entropy": loss, "learning_rate": 0.001, "grad_norm": 1.0, "examples": 8, "seconds": 0.5}
    return {"update": update, "loss": loss, **numbers, **values}


def printed_by(work: Callable[[TrainingRun], object], folder: Path, *overrides: str, terminal: bool = False) -> str:
    """What a run's console prints in `work`, in a child."""

    def child() -> str:
        run = tiny_run(tiny_config(*overrides), folder, folder)
        output = io.StringIO()
        run.console.rich_console = Console(
            file=output, width=200, highlight=False, soft_wrap=True, force_terminal=terminal, color_system=None
        )
        work(run)
        return output.getvalue()

    return in_child(child)


def test_the_header_lists_data_model_order_of_tricks_and_notes(tmp_path: Path) -> None:
    def work(run: TrainingRun) -> None:
        run.notes = ["one", "[two]"]
        run.console.print_header()

    lines = printed_by(work, tmp_path, "+tricks=[mixup,swa]", "train.max_updates=20").splitlines()
    titles = [line for line in lines if not line.startswith(" ")]
    assert titles == ["data", "model", "order of tricks", "note: one", "note: [two]"]
    names = [line.split()[0] for line in lines if line.startswith(" ")]
    assert names[:5] == ["rows", "classes", "tokens", "batches", "padding"]
    assert names[5:9] == ["name", "parameters", "device", "training"]
    assert lines[lines.index("order of tricks") + 1 : -2] == [
        "  schedule   swa > base",
        "  objective  mixup > base",
        "  gradient   mixup > base",
        "  update     swa > base",
        "  weights    swa > base",
    ]
    assert any(line.startswith("  training   20 updates of ") for line in lines)


def test_the_header_of_a_run_without_tricks(tmp_path: Path) -> None:
    text = printed_by(lambda run: run.console.print_header(), tmp_path)
    assert text.endswith("order of tricks\n  base       no tricks\n") and "multi-label" not in text


def test_the_header_says_that_data_is_multi_label(tmp_path: Path) -> None:
    overrides = ("data.label_separator=|", "evaluate.metric=micro_f1")
    assert "  classes    3 (multi-label): " in printed_by(lambda run: run.console.print_header(), tmp_path, *overrides)


def test_the_fractions_cut_are_of_rows_and_of_tokens(tmp_path: Path) -> None:
    def work() -> tuple[tuple[float, float], tuple[float, float]]:
        run = tiny_run(tiny_config("data.max_length=6"), tmp_path)
        _, lengths = run.console.uncut_lengths
        cut = sum(max(0, int(length) - 6) for length in lengths)
        return run.console._fractions_cut(), (float((lengths > 6).mean()), cut / int(lengths.sum()))

    fractions, expected = in_child(work)
    assert fractions == pytest.approx(expected) and 0 < fractions[1] < fractions[0]


def test_another_process_prints_and_writes_nothing(tmp_path: Path) -> None:
    def work(run: TrainingRun) -> None:
        type(run.console).is_silent = property(lambda console: True)  # type: ignore[assignment, method-assign]
        run.console.print_header()
        run.say("text")
        with run.console.show_progress():
            run.console.add_update(**record(1, 1.0))
            assert len(run.console.flush()) == 1
        run.console.add_evaluation(1, "validation", accuracy=0.5)

    assert printed_by(work, tmp_path) == ""
    assert not (tmp_path / "history.jsonl").exists()


def test_flush_writes_waiting_records_as_numbers(tmp_path: Path) -> None:
    def work(run: TrainingRun) -> None:
        run.console.add_update(**record(1, 1.0, extra=torch.tensor(2.5)))
        assert run.history.read() == []
        assert run.console.flush() == run.history.read() == [record(1, 1.0, extra=2.5)]
        assert run.console.flush() == [] and len(run.history.read()) == 1

    printed_by(work, tmp_path)


def test_outside_a_terminal_each_tenth_of_training_is_a_line(tmp_path: Path) -> None:
    def work(run: TrainingRun) -> None:
        for first in (1, 4, 8):
            for update in range(first, first + 3):
                run.console.add_update(**record(update, 1.0 if update == 1 else 0.5))
            run.console.flush()

    assert printed_by(work, tmp_path, "train.max_updates=50").splitlines() == [
        "update 6/50 · loss 0.500 · smoothed 0.579 · learning rate 1.0e-03 · 16 examples/s",
        "update 10/50 · loss 0.500 · smoothed 0.551 · learning rate 1.0e-03 · 16 examples/s",
    ]


def test_an_evaluation_is_a_line_and_in_a_terminal_a_table(tmp_path: Path) -> None:
    def work(run: TrainingRun) -> None:
        run.console.add_evaluation(5, "validation", accuracy=0.75, loss=0.5)

    line = printed_by(work, tmp_path, "train.max_updates=50")
    assert line == "update 5/50 · validation · accuracy 0.7500 · loss 0.5000\n"
    table = printed_by(work, tmp_path, terminal=True)
    assert "after update 5" in table and "0.7500" in table and " · " not in table


def test_a_resumed_run_continues_the_smoothed_loss_and_repeats_no_warning(tmp_path: Path) -> None:
    def work(run: TrainingRun) -> None:
        run.history.append([record(1, 1.0), record(2, float("nan")), record(3, 0.5)])
        run.history.append([{"update": 3, "split": "validation", "loss": 9.0}])
        with run.console.show_progress():
            assert run.console.smoothed_loss.value == pytest.approx((0.98 * 1.0 + 0.5) / 1.98)
            run.console.add_update(**record(4, float("nan")))
            run.console.add_update(**record(5, 0.5))

    assert "watch:" not in printed_by(work, tmp_path)


def test_a_warning_is_printed(tmp_path: Path) -> None:
    def work(run: TrainingRun) -> None:
        run.console.add_update(**record(1, float("nan")))
        run.console.flush()

    assert "watch: the loss or the gradient of update 1 is NaN or inf." in printed_by(work, tmp_path)
