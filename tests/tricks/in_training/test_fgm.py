"""FGM: the whole gradient against one written by hand, alone and with other tricks; the same for any attack."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recipes.data.batch import Batch
from recipes.loop import TrainingRun
from recipes.models import word_vectors
from recipes.models.anatomy import word_embeddings
from recipes.testing import (
    NO_DROPOUT,
    compute_gradients,
    declared_trick,
    difference,
    float64,
    in_child,
    tiny_config,
    tiny_run,
)

Objective = Callable[[TrainingRun, Batch], Tensor]


def plain(run: TrainingRun, batch: Batch) -> Tensor:
    return functional.cross_entropy(run.bare_model(**batch.inputs).logits, batch.targets)


def attack_by_hand(run: TrainingRun, batch: Batch, moves: list[tuple[float, float]], objective: Objective) -> Any:
    """The gradient at x, plus that at x + r, where r goes uphill in the rows' word vectors."""
    width = batch.inputs["input_ids"].shape[1]
    start = torch.zeros(*batch.inputs["input_ids"].shape, word_embeddings(run.bare_model).weight.shape[1])  # type: ignore[union-attr, misc]
    for step, limit in moves:
        leaf = start.clone().requires_grad_()
        with word_vectors.modify(run.bare_model, width, lambda vectors: vectors + leaf):  # noqa: B023
            (direction,) = torch.autograd.grad(objective(run, batch), leaf)
        for row in range(len(batch)):
            start[row] += step * direction[row] / direction[row].norm()
            start[row] *= min(1.0, limit / float(start[row].norm()))
    run.optimizer.zero_grad()
    objective(run, batch).backward()
    with word_vectors.modify(run.bare_model, width, lambda vectors: vectors + start):
        objective(run, batch).backward()
    return {name: each.grad.numpy().copy() for name, each in run.bare_model.named_parameters() if each.grad is not None}


def gap(folder: Path, moves: list[tuple[float, float]], objective: Objective, *overrides: str) -> float:
    """How far a run's gradient of a batch is from the one by hand."""

    def measure_difference() -> float:
        with float64():
            run = tiny_run(tiny_config(*overrides, *NO_DROPOUT), folder)
            batch = run.seams.batches(run.train, 0)[0]
            return difference(compute_gradients(run, batch), attack_by_hand(run, batch, moves, objective))

    return in_child(measure_difference)


def test_fgm(tmp_path: Path) -> None:
    assert gap(tmp_path, [(1.5, 1.5)], plain, "+tricks=[fgm]", "tricks.fgm.epsilon=1.5") < 1e-12


def test_the_attacked_pass_has_the_other_tricks_loss(tmp_path: Path) -> None:
    def focal(run: TrainingRun, batch: Batch) -> Tensor:
        log = functional.log_softmax(run.bare_model(**batch.inputs).logits, -1)
        return (batch.targets * (1 - log.exp()) ** 2 * -log).sum(-1).mean()

    assert gap(tmp_path, [(0.5, 0.5)], focal, "+tricks=[fgm,focal]", "tricks.fgm.epsilon=0.5") < 1e-12


def test_without_an_attack_the_gradient_is_another(tmp_path: Path) -> None:
    assert gap(tmp_path, [(1.0, 1.0)], plain) > 1e-4


@pytest.mark.parametrize("trick", ["fgm", "pgd"])
@pytest.mark.parametrize(
    "other",
    [
        "mixup",
        "recipe=manifold_mixup",
        "recipe=sentence_mixup",
        "recipe=cutmix",
        "r_drop",
        "accumulate",
    ],
)
def test_it_moves_what_others_make_and_nothing_else(trick: str, other: str, tmp_path: Path) -> None:
    """With epsilon next to 0 the attacked pass is the clean one again, so the gradient is twice as large."""
    tricks = [f"+tricks=[{trick}]", other] if "=" in other else [f"+tricks=[{trick},{other}]"]
    alone = [other] if "=" in other else [f"+tricks=[{other}]"]

    def of(*overrides: str) -> dict[str, np.ndarray]:
        with float64():
            run = tiny_run(tiny_config(*overrides, *NO_DROPOUT), tmp_path)
            return compute_gradients(run, run.seams.batches(run.train, 0)[0])

    without = in_child(lambda: of(*alone))
    barely = in_child(lambda: of(*tricks, f"tricks.{trick}.epsilon=1e-9"))
    assert difference({name: 2 * each for name, each in without.items()}, barely) < 1e-7
    assert difference(barely, in_child(lambda: of(*tricks))) > 1e-4


@pytest.mark.parametrize("trick", ["fgm", "pgd"])
def test_passes_are_those_that_the_class_names(trick: str, tmp_path: Path) -> None:
    def count_passes() -> float:
        run = tiny_run(tiny_config(f"+tricks=[{trick}]"), tmp_path)
        batch = run.seams.batches(run.train, 0)[0]
        run.seams.gradient(batch)
        return run.rows_passed / len(batch)

    assert in_child(count_passes) == declared_trick(trick).passes
