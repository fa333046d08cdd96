"""Accumulate: which rows go together, when processes keep their gradients to themselves, and that shares add up."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recipes import UserError
from recipes.data.batch import Batch, Loss, Outcome
from recipes.testing import NO_DROPOUT, compute_gradients, difference, in_child, on_ranks, tiny_config, tiny_run
from tricks.in_training.accumulate import Accumulate

LENGTHS = [3, 9, 5, 7, 1]


def make_batch() -> Batch:
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    return Batch(
        ids=list("abcde"),
        inputs={"input_ids": mask * 5, "attention_mask": mask},
        lengths=torch.tensor(LENGTHS),
        targets=torch.eye(5),
        weights=torch.tensor([1.0, 2.0, 0.5, 1.0, 0.5]),
        total=5.0,
        epoch=0,
        index=0,
    )


class RecordedPart:
    """The inner function and the run: what came, and whether gradients were held back."""

    def __init__(self, processes: int = 1) -> None:
        self.batches: list[Batch] = []
        self.load_predictions: list[bool] = []
        self.holding = False
        self.accelerator = SimpleNamespace(num_processes=processes)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        self.holding = True
        yield
        self.holding = False

    def inner(self, batch: Batch) -> Loss:
        self.batches.append(batch)
        self.load_predictions.append(self.holding)
        fraction = float(batch.weights.sum()) / batch.total
        return Loss(fraction * len(batch), fraction)


def run(part_size: int, processes: int = 1) -> tuple[RecordedPart, Loss]:
    calls: Any = RecordedPart(processes)
    return calls, Accumulate(part_size=part_size).gradient(calls, calls.inner, make_batch())


def test_parts_start_with_the_longest_rows_and_the_last_may_be_shorter() -> None:
    calls, _ = run(2)
    assert [batch.ids for batch in calls.batches] == [["b", "d"], ["c", "a"], ["e"]]
    assert [batch.inputs["input_ids"].shape[1] for batch in calls.batches] == [9, 5, 1]
    assert [batch.part for batch in calls.batches] == [(0,), (1,), (2,)]


def test_parts_are_weighted_by_their_rows() -> None:
    calls, loss = run(2)
    assert [float(batch.weights.sum()) for batch in calls.batches] == [3.0, 1.5, 0.5]
    assert {batch.total for batch in calls.batches} == {5.0}
    assert loss.cross_entropy == pytest.approx(1.0)
    assert loss.composed == pytest.approx((3.0 * 2 + 1.5 * 2 + 0.5) / 5)


def test_all_parts_but_the_last_skip_synchronization() -> None:
    assert run(2)[0].load_predictions == [True, True, False]
    assert run(1)[0].load_predictions == [True, True, True, True, False]


@pytest.mark.parametrize("part_size", [5, 6, 1_000_000])
def test_a_batch_that_fits_is_not_touched(part_size: int) -> None:
    calls: Any = RecordedPart()
    batch = make_batch()
    Accumulate(part_size=part_size).gradient(calls, calls.inner, batch)
    assert len(calls.batches) == 1
    assert calls.batches[0] is batch
    assert calls.load_predictions == [False]


def test_the_size_is_that_of_one_process() -> None:
    assert [len(batch) for batch in run(2, processes=2)[0].batches] == [4, 1]
    assert [len(batch) for batch in run(3, processes=2)[0].batches] == [5]


def test_every_row_comes_once() -> None:
    for part_size in range(1, 6):
        ids = [name for batch in run(part_size)[0].batches for name in batch.ids]
        assert sorted(ids) == list("abcde")


def test_the_gradient_is_that_of_the_full_batch() -> None:
    weight = torch.tensor([0.3, -0.2, 0.5, 0.1, 0.7], dtype=torch.float64)

    def gradient(part_size: int) -> torch.Tensor:
        leaf = weight.clone().requires_grad_()
        calls: Any = RecordedPart()

        def inner(batch: Batch) -> Loss:
            losses = ((batch.targets.double() @ leaf) * batch.lengths.double()).exp()
            fraction = (losses * batch.weights.double()).sum() / batch.total
            fraction.backward()
            return Loss(fraction.detach(), fraction.detach())

        total = Accumulate(part_size=part_size).gradient(calls, inner, make_batch())
        assert leaf.grad is not None
        assert float(total.composed) == pytest.approx(
            float((np.exp(weight.numpy() * LENGTHS) * make_batch().weights.numpy()).sum() / 5)
        )
        return leaf.grad

    full = gradient(5)
    for part_size in (1, 2, 3, 4):
        assert torch.allclose(gradient(part_size), full, rtol=1e-14)


def test_part_size_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="^part_size must be "):
        Accumulate(part_size=0)


class Memory(RecordedPart):
    """A model of one weight, and memory for a number of rows. Each row adds 1 to the gradient."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows, self.rows_passed, self.parts_passed = rows, 0, 0
        self.parameters = [nn.Parameter(torch.zeros(1))]
        self.config = SimpleNamespace(train=SimpleNamespace(batch_size=8))
        self.sizes: list[int] = []

    def log(self, part_size: int) -> None:
        self.sizes.append(part_size)

    def inner(self, batch: Batch) -> Loss:
        (weight,) = self.parameters
        self.rows_passed += len(batch)
        # What a pass has added before memory ends is there.
        (weight * min(len(batch), self.rows)).sum().backward()
        if len(batch) > self.rows:
            raise torch.OutOfMemoryError("no memory")
        return super().inner(batch)


class TestTheMostThatFit:
    def test_half_as_many_until_they_fit_and_the_batch_once(self) -> None:
        memory: Any = Memory(3)
        trick = Accumulate(part_size=None)
        memory.parameters[0].grad = torch.tensor([100.0])  # of an earlier pass of the same update
        loss = trick.gradient(memory, memory.inner, make_batch())
        assert trick.fitting_size == 2 and memory.sizes == [2]
        assert memory.parameters[0].grad.tolist() == [105.0]
        assert memory.rows_passed == 5
        assert loss.cross_entropy == pytest.approx(1.0)

    def test_the_size_is_reused_and_saved_in_checkpoints(self) -> None:
        memory: Any = Memory(3)
        trick, other = Accumulate(part_size=None), Accumulate(part_size=None)
        for _ in range(2):
            trick.gradient(memory, memory.inner, make_batch())
        assert memory.sizes == [2, 2]
        assert [len(batch) for batch in memory.batches] == [2, 2, 1] * 2
        other.load(trick.state())
        assert other.fitting_size == 2

    def test_where_all_fits_nothing_is_split(self) -> None:
        memory: Any = Memory(5)
        Accumulate(part_size=None).gradient(memory, memory.inner, make_batch())
        assert [len(batch) for batch in memory.batches] == [5] and memory.sizes == [8]

    def test_a_row_that_does_not_fit_is_reported(self) -> None:
        memory: Any = Memory(0)
        with pytest.raises(UserError, match=r"tricks\.accumulate\.part_size: memory ran out with a single row; lower"):
            Accumulate(part_size=None).gradient(memory, memory.inner, make_batch())

    def test_another_error_is_none_of_memory(self) -> None:
        memory: Any = Memory(5)
        memory.inner = lambda batch: 1 / 0
        with pytest.raises(ZeroDivisionError):
            Accumulate(part_size=None).gradient(memory, memory.inner, make_batch())

    def test_processes_agree_before_training(self, tmp_path: Path) -> None:
        """The second of two processes has memory for 2 rows; both then run parts of 2, and the gradient is the same."""
        config = tiny_config("+tricks=[accumulate]", *NO_DROPOUT)

        def gradient(part_size: int | None) -> tuple[dict[str, np.ndarray], int, float]:
            config.tricks["accumulate"]["part_size"] = part_size
            run = tiny_run(config, tmp_path)
            objective = run.seams.objective

            def small(part: Batch) -> Outcome:
                if os.environ.get("RANK") == "1" and len(part) > 2:
                    raise torch.OutOfMemoryError("no memory")
                return objective(part)

            if part_size is None:
                run.seams.objective = small
            result = compute_gradients(run, run.seams.batches(run.train, 0)[0])
            trick: Any = run.tricks["accumulate"]
            return result, trick.fitting_size, run.rows_passed

        alone, _, _ = in_child(lambda: gradient(2))
        together, size, rows = on_ranks(2, lambda: gradient(None))
        assert (size, rows) == (2, 4)
        assert difference(alone, together) < 1e-6
