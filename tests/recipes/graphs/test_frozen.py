"""The stand-in for CUDA graphs: it freezes Python, so it catches a trick that needs it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from recipes.data.batch import Batch, Loss, Outcome
from recipes.graphs.frozen import FrozenRecorder
from recipes.graphs.padding import pad_part
from recipes.loop import TrainingRun
from recipes.testing import (
    compute_gradients,
    difference,
    float64,
    freeze_parts,
    in_child,
    replay_difference,
    temporary_folder,
    tiny_config,
    tiny_run,
    tiny_splits,
)
from recipes.trick import Run, Trick
from tests.recipes.graphs.test_padding import make_part
from tests.sampling import slow


@dataclass
class OnDevice(Trick):
    """What a trick may do: the loss is scaled by numbers that it drew in `gradient`, and by dropout of its own."""

    slots = {"gradient": "plan", "objective": "term"}
    neutral = "an example"
    replays = True

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        factors = torch.from_numpy(run.generator("example", batch).random(len(batch)))
        return inner(replace(batch, carried={**batch.carried, "example.factor": factors}))

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        outcome = inner(batch)
        dropped = torch.nn.functional.dropout(batch.carried["example.factor"], 0.5)
        return replace(outcome, loss=outcome.loss * (1 + dropped))


@dataclass
class ReadsPosition(Trick):
    """The loss is scaled by the index of the batch."""

    slots = {"objective": "term"}
    neutral = "an example"
    replays = True

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        outcome = inner(batch)
        return replace(outcome, loss=outcome.loss * self.factor(run, batch))

    def factor(self, run: Run, batch: Batch) -> float | torch.Tensor:
        return 1.0 + batch.index


@dataclass
class ReadsLengths(ReadsPosition):
    """The loss is scaled by the length of the longest text."""

    def factor(self, run: Run, batch: Batch) -> float | torch.Tensor:
        return batch.lengths.max()


@dataclass
class DrawsOnTheHost(ReadsPosition):
    """The loss is scaled by a number that is drawn in Python."""

    def factor(self, run: Run, batch: Batch) -> float | torch.Tensor:
        return 1.0 + run.generator("example", batch).random()


@dataclass
class DrawsWithNumpy(ReadsPosition):
    """The loss is scaled by a number of numpy's global generator."""

    def factor(self, run: Run, batch: Batch) -> float | torch.Tensor:
        return float(1.0 + np.random.default_rng(batch.index).random())


@dataclass
class CountsInPython(ReadsPosition):
    """The loss is scaled by the number of calls, which is the same in both runs of the law."""

    def factor(self, run: Run, batch: Batch) -> float | torch.Tensor:
        calls: dict[int, int] = run.__dict__.setdefault("calls", {})
        calls[id(run.graphs)] = calls.get(id(run.graphs), 0) + 1  # type: ignore[attr-defined]
        return float(calls[id(run.graphs)])  # type: ignore[attr-defined]


@dataclass
class BranchesOnValues(ReadsPosition):
    """The loss is scaled by 2 where a target has a value."""

    def factor(self, run: Run, batch: Batch) -> float | torch.Tensor:
        return 2.0 if batch.targets[0, 0] > 0 else 1.0


def replay(trick: Trick) -> float:
    """The difference that the law measures for a trick."""

    def measure() -> float:
        with float64(), temporary_folder() as folder:
            config = tiny_config()
            return replay_difference(TrainingRun(config, {"example": trick}, tiny_splits(config), folder))

    return in_child(measure)


def test_a_trick_that_works_on_the_device_is_replayed_exactly() -> None:
    assert replay(OnDevice()) < 1e-10


@pytest.mark.parametrize(
    "kind",
    [
        slow(ReadsPosition),
        slow(ReadsLengths),
        slow(DrawsOnTheHost),
        DrawsWithNumpy,
        slow(CountsInPython),
    ],
)
def test_a_trick_that_needs_python_is_caught(kind: type[Trick]) -> None:
    assert replay(kind()) > 1e-3


def test_a_trick_that_branches_on_values_cannot_be_recorded() -> None:
    with pytest.raises(AssertionError, match="was not replayed"):
        replay(BranchesOnValues())


def test_a_replay_reads_new_tensors_and_the_present_weights() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    unreached = torch.nn.Parameter(torch.ones(2))

    def work(part: Batch) -> Loss:
        loss = (part.targets @ weight * part.weights).sum() / part.total
        loss.backward()
        return Loss(loss.detach(), loss.detach())

    part = pad_part(make_part(), 2, 3, {})
    weight.grad = torch.tensor([100.0, 100.0])
    pass_again = FrozenRecorder([weight, unreached])(work, part)
    assert weight.grad.tolist() == [100, 100]  # a recording leaves gradients as they are
    with torch.no_grad():
        weight.mul_(3)
    loss = pass_again(pad_part(replace(make_part(), weights=torch.tensor([4.0, 8.0]), total=2.0), 2, 3, {}))
    assert (loss.composed, loss.cross_entropy) == (18.0, 18.0)  # (4 * 3 + 8 * 3) / 2
    assert weight.grad.tolist() == [102, 104] and unreached.grad is None


def test_the_gradient_of_a_tensor_of_the_part_is_replayed() -> None:
    def work(part: Batch) -> Loss:
        loss = (part.carried["vectors"] ** 2).sum()
        loss.backward()
        return Loss(loss.detach(), loss.detach())

    def part_with(vectors: torch.Tensor) -> Batch:
        return pad_part(replace(make_part(), partners=(), carried={"vectors": vectors}), 3, 4, {})

    pass_again = FrozenRecorder([])(work, part_with(torch.ones(2, 3, 2, requires_grad=True)))
    vectors = torch.full((2, 3, 2), 5.0, requires_grad=True)
    pass_again(part_with(vectors))
    assert vectors.grad is not None
    assert vectors.grad[0, 0].tolist() == [20, 20]  # the padded part has this row twice
    assert vectors.grad[1, 0].tolist() == [10, 10]


@pytest.mark.slow
def test_dropout_of_a_replay_follows_the_seed() -> None:
    def gradients(folder: Any) -> list[dict[str, np.ndarray]]:
        run = tiny_run(tiny_config("+tricks=[r_drop]"), folder)
        batch = run.seams.batches(run.train, 0)[0]
        freeze_parts(run, [batch])
        others = replace(batch, index=3)
        return [compute_gradients(run, each) for each in (batch, others, batch)]

    def compare() -> tuple[float, float]:
        with temporary_folder() as folder:
            first, other, again = gradients(folder)
            return difference(first, other), difference(first, again)

    other, again = in_child(compare)
    assert other > 1e-4 and again == 0
