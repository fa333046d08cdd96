"""SAM and ASAM: the gradient against one at weights that NumPy has moved by the papers' formulas; weights come back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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

Arrays = dict[str, np.ndarray]


def compute_plain_gradients(run: TrainingRun, batch: Batch) -> Arrays:
    run.optimizer.zero_grad()
    functional.cross_entropy(run.bare_model(**batch.inputs).logits, batch.targets).backward()
    named = run.bare_model.named_parameters()
    gradients = {name: each.grad.numpy().copy() for name, each in named if each.grad is not None}
    run.optimizer.zero_grad()
    return gradients


def move_by_sam(weights: Arrays, gradients: Arrays, rho: float) -> Arrays:
    """Foret et al. 2021, equation 2: rho * g / ||g||, with one norm over all values."""
    norm = np.sqrt(sum((each**2).sum() for each in gradients.values()))
    return {name: weights[name] + rho * gradient / norm for name, gradient in gradients.items()}


def move_by_asam(weights: Arrays, gradients: Arrays, rho: float, eta: float) -> Arrays:
    """Kwon et al. 2021, equation 5 and section 4.2: rho * T^2 g / ||T g||; T is |w| + eta, and 1 for biases."""
    operator = {
        name: np.ones_like(weights[name]) if name.endswith("bias") else np.abs(weights[name]) + eta for name in weights
    }
    norm = np.sqrt(sum(((operator[name] * each) ** 2).sum() for name, each in gradients.items()))
    return {name: weights[name] + rho * operator[name] ** 2 * each / norm for name, each in gradients.items()}


def measure_differences(folder: Path, adaptive: bool) -> tuple[float, float, float]:
    """How far the gradient is from the expected one and from the plain one, and the weights from what they were."""
    with float64():
        values = [f"tricks.sam.adaptive={str(adaptive).lower()}", "tricks.sam.rho=0.3", "tricks.sam.eta=0.02"]
        run = tiny_run(tiny_config("+tricks=[sam]", *values, *NO_DROPOUT), folder)
        batch = run.seams.batches(run.train, 0)[0]
        before = copy_weights(run)
        result = compute_gradients(run, batch)
        after = copy_weights(run)
        weights = {name: each.detach().numpy().copy() for name, each in run.bare_model.named_parameters()}
        plain = compute_plain_gradients(run, batch)
        moved = move_by_asam(weights, plain, 0.3, 0.02) if adaptive else move_by_sam(weights, plain, 0.3)
        for name, each in run.bare_model.named_parameters():
            each.data.copy_(torch.from_numpy(moved.get(name, weights[name])))
        expected = compute_plain_gradients(run, batch)
        return difference(result, expected), difference(result, plain), difference(before, after)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_gradient_is_that_at_the_moved_weights(adaptive: bool, tmp_path: Path) -> None:
    from_expected, from_plain, of_weights = in_child(lambda: measure_differences(tmp_path, adaptive))
    assert from_expected < 1e-12 < 1e-4 < from_plain
    assert of_weights == 0


@pytest.mark.slow
def test_weights_move_from_the_start_on_also_during_warm_up(tmp_path: Path) -> None:
    def moved(start: float) -> list[bool]:
        overrides = ["+tricks=[sam]", f"tricks.sam.start={start}", "train.warmup=0.2", "train.max_updates=10"]
        run = tiny_run(tiny_config(*overrides), tmp_path)
        run.fit()
        return ["weights_moved" in line for line in run.history.read() if "grad_norm" in line]

    assert in_child(lambda: moved(0.0)) == [True] * 10
    assert in_child(lambda: moved(0.3)) == [False] * 3 + [True] * 7


def test_nothing_moves_where_the_gradient_is_not_finite(tmp_path: Path) -> None:
    def moved() -> Any:
        run = tiny_run(tiny_config("+tricks=[sam]"), tmp_path)
        before = copy_weights(run)
        run.seams.loss = lambda logits, targets: logits.sum(-1) * float("nan")
        run.seams.gradient(run.seams.batches(run.train, 0)[0])
        return int(run.logged["weights_moved"]), difference(before, copy_weights(run))

    assert in_child(moved) == (0, 0.0)
