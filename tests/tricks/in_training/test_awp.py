"""AWP: the gradient against one written by hand, and weights that come back."""

from pathlib import Path
from typing import Any

import pytest
from torch.nn import functional

from recipes.data.batch import Batch
from recipes.loop import TrainingRun
from recipes.testing import (
    NO_DROPOUT,
    compute_gradients,
    copy_weights,
    difference,
    float64,
    in_child,
    tiny_config,
    tiny_run,
)
from tests.sampling import slow


def by_hand(run: TrainingRun, batch: Batch, gamma: float) -> Any:
    def backward() -> None:
        run.optimizer.zero_grad()
        functional.cross_entropy(run.bare_model(**batch.inputs).logits, batch.targets).backward()

    named = dict(run.bare_model.named_parameters())
    before = {name: weight.detach().clone() for name, weight in named.items()}
    backward()
    for weight in named.values():
        if weight.grad is not None and weight.dim() > 1 and weight.grad.norm() > 0:
            weight.data += gamma * weight.norm() * weight.grad / weight.grad.norm()
    backward()
    result = {name: weight.grad.numpy().copy() for name, weight in named.items() if weight.grad is not None}
    for name, weight in named.items():
        weight.data.copy_(before[name])
    return result


def measure_difference(folder: Path, *overrides: str) -> tuple[float, float]:
    """How far the gradient is from the one by hand, and the weights from what they were."""
    with float64():
        settings = [
            "+tricks=[awp]",
            "tricks.awp.gamma=0.1",
            "tricks.awp.start=0.0",
            "train.warmup=0.0",
            *overrides,
            *NO_DROPOUT,
        ]
        run = tiny_run(tiny_config(*settings), folder)
        batch = run.seams.batches(run.train, 0)[0]
        before = copy_weights(run)
        result = compute_gradients(run, batch)
        return difference(result, by_hand(run, batch, 0.1)), difference(before, copy_weights(run))


def test_the_gradient_is_that_at_moved_weights(tmp_path: Path) -> None:
    gradient, weights = in_child(lambda: measure_difference(tmp_path))
    assert gradient < 1e-12
    assert weights == 0


@pytest.mark.parametrize("override", ["tricks.awp.start=0.5", "train.warmup=0.1"])
def test_before_its_start_and_during_warm_up_it_is_the_plain_one(override: str, tmp_path: Path) -> None:
    gradient, _ = in_child(lambda: measure_difference(tmp_path, override))
    assert gradient > 1e-4


@pytest.mark.parametrize(
    ("start", "warmup", "first"), [slow(0.0, 0.1, 2), (0.3, 0.1, 6), (0.05, 0.2, 4), slow(0.0, 0.0, 0)]
)
def test_weights_move_from_the_later_of_start_and_warm_up_on(
    start: float, warmup: float, first: int, tmp_path: Path
) -> None:
    def moved() -> list[bool]:
        overrides = ["+tricks=[awp]", f"tricks.awp.start={start}", f"train.warmup={warmup}", "train.max_updates=20"]
        run = tiny_run(tiny_config(*overrides), tmp_path)
        run.fit()
        return ["weights_moved" in line for line in run.history.read() if "grad_norm" in line]

    assert in_child(moved) == [number >= first for number in range(20)]


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_nothing_moves_where_the_gradient_is_not_finite(bad: float, tmp_path: Path) -> None:
    def moved() -> int:
        run = tiny_run(tiny_config("+tricks=[awp]", "tricks.awp.start=0.0", "train.warmup=0.0"), tmp_path)
        batch = run.seams.batches(run.train, 0)[0]
        run.seams.loss = lambda logits, targets: logits.sum(-1) * bad
        run.seams.gradient(batch)
        count: int = run.logged["weights_moved"]
        return count

    assert in_child(moved) == 0
