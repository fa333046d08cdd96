"""Multi-sample dropout: the mean loss over masks that the test draws itself, and where the head has no dropout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes.models.anatomy import undropped_vectors
from recipes.runtime.randomness import seed_forward
from recipes.testing import (
    compute_gradients,
    difference,
    float64,
    in_child,
    temporary_folder,
    tiny_config,
    tiny_run,
)

TRICK = "+tricks=[multi_sample_dropout]"


def test_the_loss_is_the_mean_over_samples_of_the_cross_entropy(tmp_path: Path) -> None:
    """Inoue 2019: one encoder, masks of its output, shared weights behind them, and the mean of the losses."""

    def measure() -> tuple[list[float], list[float], float]:
        values = ["tricks.multi_sample_dropout.samples=4", "tricks.multi_sample_dropout.rate=0.4"]
        with float64():
            run = tiny_run(tiny_config(TRICK, *values), tmp_path)
            batch = run.seams.batches(run.train, 0)[0]
            seed_forward(0, 0, 0)
            outcome = run.seams.objective(batch)
            seed_forward(0, 0, 0)
            with undropped_vectors(run.bare_model, run.head) as collected:
                logits = [run.bare_model(**batch.inputs).logits]
            vectors = collected[0][0].detach().numpy()
            weight, bias = (each.detach().numpy() for each in (run.head.weight, run.head.bias))
            losses = []
            for number in range(4):
                if number:
                    mask = torch.nn.functional.dropout(torch.ones(vectors.shape), 0.4).numpy()
                    scores = (vectors * mask) @ weight.T + bias
                else:
                    scores = logits[0].detach().numpy()
                log_sums = np.log(np.exp(scores).sum(1))
                losses.append(log_sums - (scores * batch.targets.numpy()).sum(1))
            return outcome.loss.tolist(), np.mean(losses, 0).tolist(), float(np.ptp(losses, 0).min())

    result, expected, spread = in_child(measure)
    assert result == pytest.approx(expected, rel=1e-10)
    assert spread > 1e-4, "the samples are equal"


@pytest.mark.parametrize(("overrides", "is_plain"), [(["model.dropout=0.0"], True), ([], False)])
def test_without_a_rate_it_is_that_of_the_model(overrides: list[str], is_plain: bool, tmp_path: Path) -> None:
    def measure() -> float:
        with float64():
            gradients = []
            for tricks in ((), (TRICK,)):
                run = tiny_run(tiny_config(*tricks, *overrides), tmp_path)
                gradients.append(compute_gradients(run, run.seams.batches(run.train, 0)[0]))
            return difference(*gradients)

    assert (in_child(measure) < 1e-12) is is_plain


def test_further_terms_of_the_objective_are_not_divided(tmp_path: Path) -> None:
    def measure() -> Any:
        both, alone = (
            tiny_run(tiny_config(*tricks, "model.dropout=0.0"), tmp_path)
            for tricks in (("+tricks=[multi_sample_dropout,r_drop]",), ("+tricks=[r_drop]",))
        )
        batch = both.seams.batches(both.train, 0)[0]
        return both.seams.objective(batch).loss.tolist(), alone.seams.objective(batch).loss.tolist()

    result, expected = in_child(measure)
    assert result == pytest.approx(expected, rel=1e-5)


def test_no_hook_and_no_vector_stays(tmp_path: Path) -> None:
    def count() -> tuple[int, int]:
        run = tiny_run(tiny_config(TRICK), tmp_path)
        run.seams.objective(run.seams.batches(run.train, 0)[0])
        trick: Any = run.tricks["multi_sample_dropout"]
        hooks = sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in run.bare_model.modules())
        return hooks, len(trick._vectors)

    assert in_child(count) == (0, 0)


def test_a_model_without_dropout_gives_a_warning(tmp_path: Path) -> None:
    def warn(*overrides: str) -> list[str]:
        run = tiny_run(tiny_config(TRICK, "model.dropout=0.0", *overrides), tmp_path)
        return list(run.tricks["multi_sample_dropout"].check(run))

    assert in_child(warn) == [
        "tricks.multi_sample_dropout: the model has no dropout in front of its head, so all samples agree; "
        "tricks.multi_sample_dropout.rate=0.3."
    ]
    assert in_child(lambda: warn("tricks.multi_sample_dropout.rate=0.2")) == []


@pytest.mark.parametrize("level", ["embedding", "sentence"])
def test_without_dropout_the_samples_of_a_mixture_are_the_mixture(level: str) -> None:
    """With pooled vectors mixed, the head reads the partners' vectors too, in the same pass."""

    def first_loss(*overrides: str) -> float:
        with float64(), temporary_folder() as folder:
            settings = [f"tricks.mixup.level={level}", "model.dropout=0.0", *overrides]
            run = tiny_run(tiny_config(*settings), folder)
            return float(run.seams.gradient(run.seams.batches(run.train, 0)[0]).composed)

    alone = in_child(lambda: first_loss("+tricks=[mixup]"))
    samples = ["+tricks=[mixup,multi_sample_dropout]", "tricks.multi_sample_dropout.rate=0.0"]
    assert in_child(lambda: first_loss(*samples)) == pytest.approx(alone, abs=1e-12)


def test_a_mean_in_front_of_the_head_has_no_dropout(tmp_path: Path) -> None:
    def warn(*overrides: str) -> int:
        run = tiny_run(tiny_config("+tricks=[contrastive,multi_sample_dropout]", *overrides), tmp_path)
        return len(list(run.tricks["multi_sample_dropout"].check(run)))

    assert in_child(warn) == 1
    assert in_child(lambda: warn("tricks.multi_sample_dropout.rate=0.2")) == 0
    assert in_child(lambda: warn("tricks.contrastive.pooling=own")) == 0
