"""Counting steps whose outcome is read later, as on a GPU; a run that reads late is the run that waits, bit for bit."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes.config import Config
from recipes.data.batch import Batch, Loss
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.runtime.steps import StepCount
from recipes.testing import UPDATES, copy_weights, difference, in_child, kill_after, tiny_config, tiny_run
from tests.sampling import slow

MADE, SKIPPED = torch.tensor(True), torch.tensor(False)


class Unread(StepCount):
    """A count of steps that fails if somebody reads the outcome of the last one."""

    @property
    def last_succeeded(self) -> bool:
        """Refuse to read."""
        raise AssertionError("the last step was waited for")


def counted(*steps: torch.Tensor, waits: bool = True) -> StepCount:
    count = StepCount(waits)
    for step in steps:
        count.add(step)
    return count


def test_skipped_steps_do_not_count() -> None:
    assert [counted(*[MADE, SKIPPED, MADE, MADE, SKIPPED][:number]).count for number in range(6)] == [0, 1, 1, 2, 3, 3]


def test_a_question_is_answered_by_the_count() -> None:
    for last, expected in ((MADE, 2), (SKIPPED, 1)):
        assert counted(MADE, last).ask(lambda count: count) == expected
    assert StepCount().ask(lambda count: count) == 0


def test_the_last_step_is_read_only_if_it_makes_a_difference() -> None:
    count = counted(MADE, MADE, MADE)
    count.__class__ = Unread  # 2 or 3 steps were made
    assert count.ask(lambda steps: steps < 2) is False and count.ask(lambda steps: steps < 4) is True
    with pytest.raises(AssertionError, match="waited for"):
        count.ask(lambda steps: steps < 3)


@pytest.mark.parametrize("waits", [True, False])
def test_what_follows_a_step_is_called_once_and_only_if_it_was_made(waits: bool) -> None:
    count, calls = counted(MADE, MADE, waits=waits), []
    count.follow(calls.append)
    assert calls == ([2] if waits else [])
    count.settle()
    count.settle()
    assert calls == [2]
    count.add(SKIPPED)
    count.follow(calls.append)
    count.settle()
    assert calls == [2]


def test_a_restart_forgets_what_waits() -> None:
    count, calls = counted(MADE, waits=False), []
    count.follow(calls.append)
    count.restart(7)
    count.settle()
    assert (count.count, calls) == (7, [])


# Whole runs.

AVERAGES = {
    "ema": ["tricks.ema.every_updates=2"],
    "swa": ["tricks.swa.start=0.3"],
    "soup": ["tricks.soup.start=0.2"],
}


def read_steps_late() -> None:
    """Let runs on the CPU read the outcome of a step when the next one is made, as on a GPU."""
    set_up = TrainingRun._set_up_optimizer

    def set_up_and_read_late(run: TrainingRun) -> None:
        set_up(run)
        run.steps.waits = False

    TrainingRun._set_up_optimizer = set_up_and_read_late  # type: ignore[method-assign]


def add_infinite_gradients(at: Collection[int]) -> None:
    """Make the gradients of these updates infinite, counted from 1."""
    set_up = TrainingRun._set_up_optimizer

    def set_up_with_inf(run: TrainingRun) -> None:
        set_up(run)
        gradient = run.seams.gradient

        def gradient_with_inf(batch: Batch) -> Loss:
            loss = gradient(batch)
            if run.batches_done + 1 in at:
                run.head.weight.grad.fill_(torch.inf)  # type: ignore[union-attr]
            return loss

        run.seams.gradient = gradient_with_inf  # type: ignore[method-assign]

    TrainingRun._set_up_optimizer = set_up_with_inf  # type: ignore[method-assign]


def train_with_skips(config: Config, folder: Path, late: bool, dies_at: int = 0) -> tuple[Any, ...]:
    """Train or resume a run, and return its averaged weights, its history, and the rows that it skipped."""
    add_infinite_gradients({3, 9, 10, UPDATES})
    if late:
        read_steps_late()
    kill_after(dies_at)
    folder.mkdir(exist_ok=True)
    run = tiny_run(config, folder, folder)
    run.fit()
    with run.seams.weights():
        weights = copy_weights(run)
    history = [{name: value for name, value in line.items() if name != "seconds"} for line in run.history.read()]
    return weights, history, (folder / "skipped.jsonl").read_text(), run.updates


@pytest.mark.parametrize("trick", ["ema", slow("soup"), slow("swa")])
@pytest.mark.slow
def test_a_run_that_reads_late_is_the_same_also_after_a_kill(trick: str, tmp_path: Path) -> None:
    """Skipped updates, averages, the schedule, the start of mixup, and what is recorded."""
    overrides = [*AVERAGES[trick], "tricks.mixup.warmup=0.4", "checkpoint.every=0.25"]
    config = tiny_config(f"+tricks=[{trick},mixup]", *overrides)
    expected = in_child(partial(train_with_skips, config, tmp_path / "waits", False))
    with pytest.raises(ChildProcessError):
        in_child(partial(train_with_skips, config, tmp_path / "late", True, 11))
    late = in_child(partial(train_with_skips, config, tmp_path / "late", True))
    assert difference(expected[0], late[0]) == 0
    assert expected[1:] == late[1:]
    assert len(late[2].splitlines()) == 4 and late[3] == UPDATES - 4


@pytest.mark.parametrize("at", [{2, 3, 4}, {UPDATES - 2, UPDATES - 1, UPDATES}])
def test_three_skipped_in_a_row_end_a_run_that_reads_late(at: set[int], tmp_path: Path) -> None:
    """The message has the rows of the third; at the end of training nothing follows that would read it."""

    def work() -> tuple[Any, list[str]]:
        add_infinite_gradients(at)
        read_steps_late()
        run = tiny_run(tiny_config(), tmp_path, tmp_path)
        with pytest.raises(UserError, match="3 updates in a row had no finite gradient") as caught:
            run.fit()
        error: Any = caught.value
        epoch, index = divmod(max(at) - 1, run.updates_per_epoch)
        return sorted(error.ids), sorted(run.seams.batches(run.train, epoch)[index].ids)

    ids, expected = in_child(work)
    assert ids == expected
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 3
