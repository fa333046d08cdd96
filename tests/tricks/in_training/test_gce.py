"""Generalized cross-entropy: against its formula in NumPy, its limits, and where p is 0 or 1."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recipes.compose.tricks import build
from recipes.errors import UserError
from recipes.testing import tiny_config
from tricks.in_training.gce import Gce

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -4.0], [-3.0, 5.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1])


def loss_of(q: float, logits: Tensor, targets: Tensor, multi_label: bool = False) -> Tensor:
    def never(logits: Tensor, targets: Tensor) -> Tensor:
        raise AssertionError("not the plain loss")

    run: Any = SimpleNamespace(multi_label=multi_label)
    return Gce(q).loss(run, never, logits, targets)


def one_hot(labels: Tensor, classes: int = 3) -> Tensor:
    return functional.one_hot(labels, classes).to(torch.float64)


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_it_is_the_formula_of_the_paper(q: float) -> None:
    """Zhang and Sabuncu 2018, equation 6: (1 - f_y(x)^q) / q, where f is the softmax."""
    exponentials = np.exp(LOGITS.numpy())
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    expected = (1 - probabilities[np.arange(3), LABELS.numpy()] ** q) / q
    assert loss_of(q, LOGITS, one_hot(LABELS)).tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_its_gradient_is_that_of_the_cross_entropy_times_p_to_the_q() -> None:
    leaf = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(0.7, leaf, one_hot(LABELS)).sum(), leaf)
    (plain,) = torch.autograd.grad(functional.cross_entropy(leaf, LABELS, reduction="sum"), leaf)
    right = LOGITS.softmax(1).gather(1, LABELS[:, None])
    torch.testing.assert_close(gradient, plain * right**0.7)


def test_its_limits_are_the_cross_entropy_and_the_absolute_error() -> None:
    targets = one_hot(LABELS)
    plain = functional.cross_entropy(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(loss_of(1e-9, LOGITS, targets), plain, rtol=1e-7, atol=0)
    # Half the 1-norm between the target and the prediction.
    error = (targets - LOGITS.softmax(1)).abs().sum(1) / 2
    torch.testing.assert_close(loss_of(1.0, LOGITS, targets), error)
    run: Any = SimpleNamespace(multi_label=False)
    assert Gce(0.0).loss(run, lambda logits, targets: targets, LOGITS, targets) is targets


def test_no_label_costs_more_than_the_limit() -> None:
    logits = torch.tensor([[-1e4, 1e4, 0.0]])
    assert loss_of(0.7, logits, torch.tensor([[1.0, 0.0, 0.0]])).item() == pytest.approx(1 / 0.7)


def test_it_is_linear_in_the_targets() -> None:
    one, other = one_hot(LABELS), one_hot(torch.tensor([1, 1, 0]))
    mixed = loss_of(0.7, LOGITS, 0.3 * one + 0.7 * other)
    torch.testing.assert_close(mixed, 0.3 * loss_of(0.7, LOGITS, one) + 0.7 * loss_of(0.7, LOGITS, other))


def test_with_multiple_labels_each_class_has_two_sides() -> None:
    logits = torch.tensor([[math.log(4.0), 0.0]], dtype=torch.float64)  # p = 0.8, 0.5
    result = loss_of(0.5, logits, torch.tensor([[1.0, 0.0]], dtype=torch.float64), multi_label=True)
    assert result.tolist() == pytest.approx([((1 - 0.8**0.5) / 0.5 + (1 - 0.5**0.5) / 0.5) / 2])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("q", [0.01, 0.7, 1.0])
def test_loss_and_gradient_are_finite_at_the_ends(multi_label: bool, kind: torch.dtype, q: float) -> None:
    most = torch.finfo(torch.float16).max
    logits = torch.tensor([[most, -most], [-most, most], [0.0, 0.0], [30.0, -30.0]], dtype=kind, requires_grad=True)
    for targets in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5]):
        result = loss_of(q, logits, torch.tensor([targets] * 4, dtype=kind), multi_label)
        (gradient,) = torch.autograd.grad(result.sum(), logits)
        assert result.isfinite().all() and gradient.isfinite().all()


def test_another_criterion_is_refused_with_both_names() -> None:
    with pytest.raises(UserError, match="tricks focal and gce both fill loss/criterion"):
        build(tiny_config("+tricks=[focal,gce]").tricks)
