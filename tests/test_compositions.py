"""Known bugs of other implementations that combine tricks, with a test for each.

Other files test these bugs:

- Together with accumulation: attacks that take their direction from older parts, gradients erased by an attack, means
  of unequal parts, class weights that do not add up, averages of every part. Law 4 of every trick.
- Two tricks own the targets or the weights, and one of them silently wins: `tests/recipes/test_seams.py`.
- Averages and the schedule of a trick are lost when a run resumes: law 5.
- Scaled gradients are clipped: `test_clip_gradient.py`.
- Skipped steps are counted: `test_amp.py`.
- Windows are scored as if they were texts: `test_sliding_window.py`.
- The definitions of alpha in R-Drop differ, and R-Drop runs without dropout: `test_r_drop.py`.
"""

import re
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.api import finetune_config
from recipes.base import Base
from recipes.data.batch import Batch, Outcome
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.models.anatomy import word_embeddings
from recipes.runtime.randomness import key
from recipes.testing import (
    NO_DROPOUT,
    declared_trick,
    difference,
    float64,
    in_child,
    names,
    required_overrides,
    tiny_config,
    tiny_run,
    with_supplied_values,
)
from tests.recipes.models.test_inputs import small_model, small_tokenizer
from tests.sampling import every

ATTACKS = ["awp", "fgm", "pgd"]
TRIPLES = sorted(combinations(names(), 3), key=lambda triple: key(0, "triples", *triple))[:120]
IN_THE_STEP = [name for name in names() if {"gradient", "objective", "loss"} & set(declared_trick(name).slots)]


def start_run(folder: Path, *tricks: str, overrides: tuple[str, ...] = ()) -> tuple[TrainingRun, Batch]:
    """A tiny run with these tricks, and its first batch. It has no warm-up, during which some do nothing."""
    late = ["tricks.awp.start=0.0"] if "awp" in tricks else []
    settings = [f"+tricks=[{','.join(tricks)}]", "train.warmup=0.0", *late, *required_overrides(tricks), *overrides]
    run = tiny_run(with_supplied_values(tiny_config(*settings)), folder)
    return run, run.seams.batches(run.train, 0)[0]


def gradient_over(older: float, run: TrainingRun, batch: Batch) -> dict[str, np.ndarray]:
    """Compute what a batch adds to an existing gradient whose values are all `older`."""
    for parameter in run.parameters:
        parameter.grad = torch.full_like(parameter, older)
    run.seams.gradient(batch)
    parameters = run.bare_model.named_parameters()
    return {name: each.grad.numpy() - older for name, each in parameters if each.grad is not None}


@pytest.mark.parametrize("trick", ATTACKS)
def test_no_attack_takes_its_direction_from_an_older_gradient(trick: str, tmp_path: Path) -> None:
    def measure_difference() -> float:
        with float64():
            run, batch = start_run(tmp_path, trick, overrides=NO_DROPOUT)
            return difference(gradient_over(0.0, run, batch), gradient_over(3.0, run, batch))

    assert in_child(measure_difference) < 1e-12


@pytest.mark.parametrize("trick", every(6, IN_THE_STEP))
def test_a_loss_scale_scales_the_gradient_and_nothing_else(trick: str, tmp_path: Path) -> None:
    """Every backward pass is scaled once, and no direction, mixture or measurement depends on the scale."""

    def measure_difference() -> float:
        with float64():
            run, batch = start_run(tmp_path, trick, overrides=NO_DROPOUT)
            plain = gradient_over(0.0, run, batch)
            run.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
            scaled = gradient_over(0.0, run, batch)
            return difference(plain, {name: each / 2**20 for name, each in scaled.items()})

    assert in_child(measure_difference) < 1e-12


@pytest.mark.parametrize("trick", ["fgm", "pgd"])
def test_the_table_of_word_vectors_is_never_modified(trick: str, tmp_path: Path) -> None:
    """An average, a tied head or another process reads the values that the optimizer has set."""

    def count_modifications() -> int:
        run, batch = start_run(tmp_path, trick)
        table = word_embeddings(run.bare_model).weight
        before = table._version
        run.seams.gradient(batch)
        return int(table._version - before)

    assert in_child(count_modifications) == 0


@pytest.mark.parametrize(
    ("tricks", "passes"),
    [
        (("fgm", "r_drop"), 4),
        (("pgd", "r_drop"), 8),
        (("awp", "fgm"), 4),
        (("fgm", "mixup"), 2),
        (("mixup", "r_drop"), 2),
    ],
)
def test_passes_multiply(tricks: tuple[str, ...], passes: int, tmp_path: Path) -> None:
    def count_passes() -> float:
        run, batch = start_run(tmp_path, *tricks)
        run.seams.gradient(batch)
        return run.rows_passed / len(batch)

    assert in_child(count_passes) == passes


@pytest.mark.parametrize("attack", ["fgm", "pgd"])
def test_passes_and_attacks_see_the_same_mixture(attack: str, tmp_path: Path) -> None:
    """Every pass of an update sees the same rows, proportions and targets; the two copies draw different dropout."""

    def record_passes() -> list[tuple[list[str], list[float], list[list[float]], tuple[int, ...]]]:
        calls = []
        inner = Base.objective

        def record_objective(base: Base, batch: Batch) -> Outcome:
            outcome = inner(base, batch)
            fractions = batch.carried["mixup.lambda"].tolist()
            calls.append((batch.ids, fractions, outcome.targets.tolist(), batch.part))
            return outcome

        Base.objective = record_objective  # type: ignore[method-assign]
        run, batch = start_run(tmp_path, attack, "mixup", "r_drop")
        run.seams.gradient(batch)
        return calls

    calls = in_child(record_passes)
    assert len(calls) == 2 * int(declared_trick(attack).passes)
    assert len({repr(each[:3]) for each in calls}) == 1
    assert len({each[3] for each in calls}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("triple", TRIPLES, ids="+".join)
def test_three_tricks_make_a_run_or_are_refused_with_two_names_and_the_remedy(
    triple: tuple[str, ...], tmp_path: Path
) -> None:
    """Law 8 is about pairs and one update; this is about a whole run, from the data to a prediction."""
    overrides = [f"+tricks=[{','.join(triple)}]", "train.max_updates=2", *required_overrides(triple)]
    folder = tmp_path / "run"

    def start() -> tuple[str, ...]:
        config = with_supplied_values(tiny_config(*overrides))
        try:
            run = finetune_config(config, folder)
        except UserError as error:
            assert not folder.exists()
            return error.problems
        assert np.isfinite(run.predict(["a1 b2 w3", ""]).probabilities).all()
        assert run.metrics["validation"]["accuracy"] >= 0
        return ()

    for problem in in_child(start):
        assert sum(name in problem.partition(";")[0].split() for name in triple) == 2, problem
        assert "; keep one of them: +tricks=[" in problem


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Albert", "Bart", "GPT2"])
def test_every_trick_runs_on_another_kind_of_model_or_is_refused_before_it_is_trained(
    family: str, tmp_path: Path
) -> None:
    """One layer for all depths, an encoder and a decoder, and a head that reads every token."""
    small_model(family).base_model.save_pretrained(tmp_path / "model")
    small_tokenizer().save_pretrained(tmp_path / "model")
    chosen = ["model=hub", f"model.name={tmp_path / 'model'}", "train.max_updates=2"]

    def start(trick: str) -> str:
        folder = tmp_path / trick
        overrides = [*chosen, f"+tricks=[{trick}]", *required_overrides([trick])]
        config = with_supplied_values(tiny_config(*overrides))
        try:
            finetune_config(config, folder)
        except UserError as error:
            assert not folder.exists()
            return str(error)
        return ""

    for trick in names():
        message = in_child(partial(start, trick))
        if message:
            assert message.startswith(f"tricks.{trick}") and re.search("leave|use |Use ", message), message
