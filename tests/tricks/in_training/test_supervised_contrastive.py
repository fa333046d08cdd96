"""Supervised contrastive: the loss by the paper's formula in loops, its gradient over the full update, and refusals."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recipes import base
from recipes.compose.tricks import build
from recipes.errors import UserError
from recipes.testing import compute_gradients, difference, float64, in_child, tiny_config, tiny_run
from tricks.in_training.supervised_contrastive import compute_losses, normalize

TRICK = "+tricks=[supervised_contrastive]"
LABELS = [0, 1, 0, 2, 1, 0]


def sum_by_the_formula(vectors: np.ndarray, labels: list[int], temperature: float) -> list[float]:
    """Gunel et al. 2021, equation 3, row by row; a row that is alone in its class has no term."""
    losses = []
    for i, own in enumerate(labels):
        others = [k for k in range(len(labels)) if k != i]
        same = [j for j in others if labels[j] == own]
        total = sum(math.exp(vectors[i] @ vectors[k] / temperature) for k in others)
        terms = [math.log(math.exp(vectors[i] @ vectors[j] / temperature) / total) for j in same]
        losses.append(-sum(terms) / len(same) if same else 0.0)
    return losses


def sample_vectors(rows: int = 6) -> Tensor:
    return normalize(torch.from_numpy(np.random.default_rng(0).normal(size=(rows, 4))))


def one_hot(labels: list[int]) -> Tensor:
    return functional.one_hot(torch.tensor(labels), 3).double()


@pytest.mark.parametrize("temperature", [0.05, 0.3, 2.0])
def test_it_is_the_formula_of_the_paper(temperature: float) -> None:
    vectors = sample_vectors()
    result = compute_losses(vectors, one_hot(LABELS), torch.ones(6), temperature)
    assert result.tolist() == pytest.approx(sum_by_the_formula(vectors.numpy(), LABELS, temperature), rel=1e-10)
    assert result[3] == 0


def test_rows_count_by_their_weights() -> None:
    vectors, weights = sample_vectors(), torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    result = compute_losses(vectors, one_hot(LABELS), weights, 0.3)
    without = compute_losses(vectors[:5], one_hot(LABELS[:5]), weights[:5], 0.3)
    torch.testing.assert_close(result[:5], without)
    # Two rows of weight 1/2 that are equal count as one of weight 1.
    repeated = [*range(6), 5]
    halved = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5])
    twice = compute_losses(vectors[repeated], one_hot([*LABELS, 0]), halved, 0.3)
    torch.testing.assert_close(twice[:5], compute_losses(vectors, one_hot(LABELS), torch.ones(6), 0.3)[:5])


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 0]])
def test_few_rows_have_a_finite_loss_and_gradient(labels: list[int]) -> None:
    for weights in (torch.ones(len(labels)), torch.zeros(len(labels))):
        vectors = sample_vectors(len(labels)).requires_grad_()
        loss = compute_losses(vectors, one_hot(labels), weights, 0.3)
        (gradient,) = torch.autograd.grad(loss.sum(), vectors)
        assert loss.isfinite().all() and gradient.isfinite().all()


def measure_against_one_pass(folder: Path, cost_of_pass: float, *overrides: str) -> tuple[float, float, float, int]:
    """How far the gradient of an update is from that of the full loss in one graph, and the loss from its value."""
    base.COST_OF_PASS["cpu"] = cost_of_pass
    with float64():
        settings = ["tricks.supervised_contrastive.temperature=0.2", "tricks.supervised_contrastive.weight=0.7"]
        run = tiny_run(tiny_config(TRICK, *settings, *overrides, longest=30), folder)
        batch = run.seams.batches(run.train, 0)[0]
        weights = torch.linspace(0.25, 2.0, len(batch), dtype=torch.float64)
        batch = replace(batch, weights=weights, total=float(weights.sum()))
        result = compute_gradients(run, batch)
        parts, value = run.parts_passed, float(run.seams.gradient(batch).composed)
        run.optimizer.zero_grad()
        base.seed_forward(run.config.seeds.dropout, batch.epoch, batch.index)
        with base.pooled_vectors(run.head) as pooled:
            logits = run.bare_model(**batch.inputs).logits
        vectors = pooled[0] / pooled[0].norm(dim=1, keepdim=True)
        scores = (vectors @ vectors.T / 0.2).exp()
        labels = batch.targets.argmax(1)
        terms = []
        for i in range(len(batch)):
            others = [k for k in range(len(batch)) if k != i]
            same = [j for j in others if labels[j] == labels[i]]
            total = (weights[others] * scores[i, others]).sum()
            terms.append(-(weights[same] * (scores[i, same] / total).log()).sum() / weights[same].sum())
        losses = 0.3 * functional.cross_entropy(logits, labels, reduction="none") + 0.7 * torch.stack(terms)
        loss = (weights * losses).sum() / weights.sum()
        loss.backward()
        named = run.bare_model.named_parameters()
        expected = {name: each.grad.numpy() for name, each in named if each.grad is not None}
        return difference(result, expected), abs(value - loss.item()), float(run.rows_passed / len(batch)), parts


@pytest.mark.parametrize(
    ("cost_of_pass", "overrides"),
    [(1e9, []), (1e9, ["model.dropout=0.0"]), (0, ["model.dropout=0.0"])],
    ids=["dropout", "one part", "parts"],
)
def test_the_gradient_is_that_of_the_full_update(cost_of_pass: float, overrides: list[str], tmp_path: Path) -> None:
    """In one part with dropout too: both passes have the same masks. In parts without."""
    of_gradient, of_loss, passes, parts = in_child(lambda: measure_against_one_pass(tmp_path, cost_of_pass, *overrides))
    assert of_gradient < 1e-12 and of_loss < 1e-12
    assert passes == pytest.approx(2 * 4 / 3)
    assert (parts > 1) is (cost_of_pass == 0)


def test_mixtures_are_refused_with_both_names() -> None:
    message = "tricks mixup and supervised_contrastive exclude each other: a mixture of texts has no one class; keep"
    with pytest.raises(UserError, match=message):
        build(tiny_config("+tricks=[mixup,supervised_contrastive]").tricks)


def test_rows_with_more_than_one_label_are_pulled_by_the_labels_that_they_share() -> None:
    vectors = sample_vectors(4)
    labels = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    result = compute_losses(vectors, labels, torch.ones(4), 0.3)
    scores = np.exp(vectors.numpy() @ vectors.numpy().T / 0.3)
    np.fill_diagonal(scores, 0)
    costs = -np.log(scores[0] / scores[0].sum(), where=scores[0] > 0, out=np.zeros(4))
    assert result[0].item() == pytest.approx((2 * costs[1] + costs[2]) / 3)
    assert result[3] == 0


def test_rows_that_are_alone_in_their_class_give_a_warning(tmp_path: Path) -> None:
    def warn(size: int) -> list[str]:
        run = tiny_run(tiny_config(TRICK, f"train.batch_size={size}"), tmp_path)
        return list(run.tricks["supervised_contrastive"].check(run))

    (sentence,) = in_child(lambda: warn(2))
    assert sentence.startswith(
        "tricks.supervised_contrastive: in batches of 2, 67% of the rows are alone in their class"
    )
    assert sentence.endswith("; train.batch_size=12.")
    assert in_child(lambda: warn(8)) == []
