"""FGM: the whole gradient against one written by hand, alone and with other tricks; the same for any attack."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.data.batch import Batch
from recipes.loop import TrainingRun
from recipes.models import word_vectors
from recipes.models.anatomy import word_embeddings
from recipes.testing import (
    NO_DROPOUT,
    compute_gradients,
    copy_weights,
    declared_trick,
    difference,
    float64,
    in_child,
    tiny_config,
    tiny_run,
)
from tests.sampling import slow
from tricks.in_training.fgm import Fgm

Objective = Callable[[TrainingRun, Batch], Tensor]


def plain(run: TrainingRun, batch: Batch) -> Tensor:
    return functional.cross_entropy(run.bare_model(**batch.inputs).logits, batch.targets)


def measure_unit(run: TrainingRun) -> float:
    """The mean norm of the word vectors of all tokens but the special ones, one by one."""
    table = word_embeddings(run.bare_model).weight.detach()  # type: ignore[union-attr, operator]
    words = [
        number for token, number in run.tokenizer.get_vocab().items() if token not in run.tokenizer.all_special_tokens
    ]
    return sum(float(table[number].norm()) for number in words) / len(words)


def attack_by_hand(run: TrainingRun, batch: Batch, moves: list[tuple[float, float]], objective: Objective) -> Any:
    """The gradient at x, plus that at x + r, where r goes uphill in the rows' word vectors."""
    width = batch.inputs["input_ids"].shape[1]
    start = torch.zeros(*batch.inputs["input_ids"].shape, word_embeddings(run.bare_model).weight.shape[1])  # type: ignore[union-attr, misc]
    unit = measure_unit(run)
    for step, limit in moves:
        leaf = start.clone().requires_grad_()
        with word_vectors.modify(run.bare_model, width, lambda vectors: vectors + leaf):  # noqa: B023
            (direction,) = torch.autograd.grad(objective(run, batch), leaf)
        for row in range(len(batch)):
            start[row] += step * unit * direction[row] / direction[row].norm()
            start[row] *= min(1.0, limit * unit / float(start[row].norm()))
    run.optimizer.zero_grad()
    objective(run, batch).backward()
    with word_vectors.modify(run.bare_model, width, lambda vectors: vectors + start):
        objective(run, batch).backward()
    return {name: each.grad.numpy().copy() for name, each in run.bare_model.named_parameters() if each.grad is not None}


def attack_matrix_by_hand(
    run: TrainingRun, batch: Batch, moves: list[tuple[float, float]], objective: Objective
) -> Any:
    """The same in the code in wide use: the word embedding matrix goes uphill by one norm, and comes back."""
    matrix: Any = word_embeddings(run.bare_model).weight
    before = matrix.detach().clone()
    for step, limit in moves:
        (direction,) = torch.autograd.grad(objective(run, batch), matrix)
        matrix.data += step * direction / direction.norm()
        moved = matrix.data - before
        if moved.norm() > limit:
            matrix.data = before + limit * moved / moved.norm()
    at_moved = matrix.detach().clone()
    matrix.data.copy_(before)
    run.optimizer.zero_grad()
    objective(run, batch).backward()
    matrix.data.copy_(at_moved)
    objective(run, batch).backward()
    matrix.data.copy_(before)
    return {name: each.grad.numpy().copy() for name, each in run.bare_model.named_parameters() if each.grad is not None}


def gap(folder: Path, moves: list[tuple[float, float]], objective: Objective, *overrides: str) -> float:
    """How far a run's gradient of a batch is from the one by hand."""

    def measure_difference() -> float:
        with float64():
            run = tiny_run(tiny_config(*overrides, *NO_DROPOUT), folder)
            batch = run.seams.batches(run.train, 0)[0]
            attack = attack_matrix_by_hand if "scope=matrix" in "".join(overrides) else attack_by_hand
            return difference(compute_gradients(run, batch), attack(run, batch, moves, objective))

    return in_child(measure_difference)


def test_fgm(tmp_path: Path) -> None:
    assert gap(tmp_path, [(1.5, 1.5)], plain, "+tricks=[fgm]", "tricks.fgm.epsilon=1.5") < 1e-12


def test_fgm_on_the_matrix_is_the_code_in_wide_use(tmp_path: Path) -> None:
    settings = ["+tricks=[fgm]", "tricks.fgm.epsilon=1.5", "tricks.fgm.scope=matrix"]
    assert gap(tmp_path, [(1.5, 1.5)], plain, *settings) < 1e-12
    assert gap(tmp_path, [(1.0, 1.0)], plain, *settings) > 1e-6


@pytest.mark.parametrize("scope", ["text", "matrix"])
def test_the_attacked_pass_has_the_other_tricks_loss(scope: str, tmp_path: Path) -> None:
    def focal(run: TrainingRun, batch: Batch) -> Tensor:
        log = functional.log_softmax(run.bare_model(**batch.inputs).logits, -1)
        return (batch.targets * (1 - log.exp()) ** 2 * -log).sum(-1).mean()

    settings = ["+tricks=[fgm,focal]", "tricks.fgm.epsilon=0.5", f"tricks.fgm.scope={scope}"]
    assert gap(tmp_path, [(0.5, 0.5)], focal, *settings) < 1e-12


def test_without_an_attack_the_gradient_is_another(tmp_path: Path) -> None:
    assert gap(tmp_path, [(1.0, 1.0)], plain) > 1e-4


@pytest.mark.parametrize("trick", ["fgm", "pgd"])
@pytest.mark.parametrize(
    "other",
    [
        slow("mixup"),
        "recipe=manifold_mixup",
        slow("recipe=sentence_mixup"),
        slow("recipe=cutmix"),
        slow("r_drop"),
        slow("accumulate"),
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

    selections = alone, [*tricks, f"tricks.{trick}.epsilon=1e-9"], tricks
    without, barely, attacked = in_child(lambda: [of(*each) for each in selections])
    assert difference({name: 2 * each for name, each in without.items()}, barely) < 1e-7
    assert difference(barely, attacked) > 1e-4


@pytest.mark.parametrize(("start", "first"), [slow(0.0, 0), (0.25, 5), slow(1.0, 20)])
def test_it_attacks_from_its_start_on(start: float, first: int, tmp_path: Path) -> None:
    def attacked() -> list[bool]:
        run = tiny_run(tiny_config("+tricks=[fgm]", f"tricks.fgm.start={start}", "train.max_updates=20"), tmp_path)
        run.fit()
        return ["rows_not_attacked" in line for line in run.history.read() if "grad_norm" in line]

    assert in_child(attacked) == [number >= first for number in range(20)]


def test_the_matrix_is_restored_to_the_last_bit(tmp_path: Path) -> None:
    def is_restored() -> bool:
        run = tiny_run(tiny_config("+tricks=[pgd]", "tricks.pgd.scope=matrix", "tricks.pgd.epsilon=3.3"), tmp_path)
        before = copy_weights(run)
        run.seams.gradient(run.seams.batches(run.train, 0)[0])
        return difference(before, copy_weights(run)) == 0

    assert in_child(is_restored)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("tricks.fgm.epsilon=0.5", "fgm: for each text epsilon=0.5 is {half:.3g}, in mean norms of a word vector"),
        ("tricks.fgm.scope=matrix tricks.fgm.epsilon=2.0", "fgm: epsilon=2 in 2-norm of the change of the word"),
    ],
)
def test_the_header_and_the_history_have_the_distance_with_its_unit(
    settings: str, expected: str, tmp_path: Path
) -> None:
    def reported() -> tuple[list[str], float, float]:
        run = tiny_run(tiny_config("+tricks=[fgm]", *settings.split()), tmp_path)
        run.seams.gradient(run.seams.batches(run.train, 0)[0])
        return run.notes, run.logged["attack_radius"], measure_unit(run)

    notes, radius, unit = in_child(reported)
    assert any(note.startswith(expected.format(half=unit / 2)) for note in notes)
    assert radius == pytest.approx(2.0 if "matrix" in settings else unit / 2)


def test_a_resumed_run_has_the_unit_that_was_measured_first(tmp_path: Path) -> None:
    def after_resuming() -> float | None:
        config = tiny_config("+tricks=[fgm]", "train.max_updates=2")
        first = tiny_run(config, tmp_path, tmp_path / "run")
        fgm: Any = first.tricks["fgm"]
        fgm.unit = 0.123
        first._save()
        second: Any = tiny_run(config, tmp_path, tmp_path / "run")
        second._resume()
        unit: float | None = second.tricks["fgm"].unit
        return unit

    assert in_child(after_resuming) == 0.123


def test_a_frozen_matrix_cannot_be_attacked_along_its_gradient() -> None:
    matrix = nn.Embedding(3, 2)
    run: Any = SimpleNamespace(bare_model=SimpleNamespace(get_input_embeddings=lambda: matrix))
    trick = Fgm(scope="matrix", epsilon=1.0, start=0.0)
    assert list(trick.check(run)) == []
    matrix.weight.requires_grad_(False)
    (message,) = trick.check(run)
    assert "is frozen; tricks.fgm.scope=text." in message
    assert list(Fgm(scope="text", epsilon=0.05, start=0.0).check(run)) == []


@pytest.mark.parametrize(("epsilon", "is_reported"), [(0.06, True), (0.05, False)])
def test_a_text_that_moves_farther_than_was_trained_is_reported(epsilon: float, is_reported: bool) -> None:
    run: Any = SimpleNamespace()
    messages = list(Fgm(scope="text", epsilon=epsilon, start=0.0).check(run))
    assert [message.partition(" mean norms")[0] for message in messages] == (
        ["tricks.fgm.epsilon=0.06 is above 0.05"] if is_reported else []
    )


@pytest.mark.parametrize("trick", ["fgm", "pgd"])
def test_passes_are_those_that_the_class_names(trick: str, tmp_path: Path) -> None:
    def count_passes() -> float:
        run = tiny_run(tiny_config(f"+tricks=[{trick}]"), tmp_path)
        batch = run.seams.batches(run.train, 0)[0]
        run.seams.gradient(batch)
        return run.rows_passed / len(batch)

    assert in_child(count_passes) == declared_trick(trick).passes
