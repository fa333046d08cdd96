"""Focal loss: against its formula, cross-entropy and the sigmoid form, and where p is 0 or 1."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tricks.in_training.focal import Focal

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -4.0], [-3.0, 5.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1])


def run_of(classes: int = 3, labels: Any = (0, 1, 2), multi_label: bool = False) -> Any:
    names = [f"c{number}" for number in range(classes)]
    train = SimpleNamespace(labels=np.array(labels), num_classes=classes)
    return SimpleNamespace(train=train, classes=names, multi_label=multi_label)


class Prepared(Focal):
    """Prepared for the run whose loss is computed."""

    def loss(self, run: Any, *arguments: Any) -> Tensor:
        self.prepare(run)
        return super().loss(run, *arguments)


def focal(**values: Any) -> Focal:
    return Prepared(**{"gamma": 2.0, "scheme": "none", "beta": 0.9, "values": {}, **values})


def never(logits: Tensor, targets: Tensor) -> Tensor:
    raise AssertionError("not the plain loss")


def one_hot(labels: Tensor, classes: int = 3) -> Tensor:
    return functional.one_hot(labels, classes).to(torch.float64)


def test_by_hand() -> None:
    logits = torch.tensor([[math.log(4.0), 0.0]])  # p = 0.8, 0.2
    result = focal().loss(run_of(2), never, logits, torch.tensor([[1.0, 0.0]]))
    assert result.tolist() == pytest.approx([0.2**2 * -math.log(0.8)])
    mixed = focal(gamma=3.0).loss(run_of(2), never, logits, torch.tensor([[0.25, 0.75]]))
    assert mixed.tolist() == pytest.approx([0.25 * 0.2**3 * -math.log(0.8) + 0.75 * 0.8**3 * -math.log(0.2)])


def test_gamma_0_is_the_plain_loss_itself() -> None:
    def plain(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits, targets, reduction="none")

    targets = one_hot(LABELS)
    assert torch.equal(focal(gamma=0.0).loss(run_of(), plain, LOGITS, targets), plain(LOGITS, targets))


def test_it_is_linear_in_the_targets() -> None:
    one, other = one_hot(LABELS), one_hot(torch.tensor([1, 1, 0]))
    parts = [focal().loss(run_of(), never, LOGITS, targets) for targets in (one, other)]
    mixed = focal().loss(run_of(), never, LOGITS, 0.3 * one + 0.7 * other)
    torch.testing.assert_close(mixed, 0.3 * parts[0] + 0.7 * parts[1])


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_the_sigmoid_form(gamma: float) -> None:
    """With several labels a row's loss is the mean of Lin et al.'s, p_t by p_t; of two classes one logit is 0."""
    logits = torch.linspace(-6, 6, 25, dtype=torch.float64)
    labels = (torch.arange(25) % 2).to(torch.float64)
    probability = logits.sigmoid()
    right = labels * probability + (1 - labels) * (1 - probability)
    expected = -((1 - right) ** gamma) * right.log()
    multi = focal(gamma=gamma).loss(run_of(1, [[1]], True), never, logits[:, None], labels[:, None])
    torch.testing.assert_close(multi, expected, atol=1e-7, rtol=0)
    two = torch.stack([torch.zeros_like(logits), logits], 1)
    result = focal(gamma=gamma).loss(run_of(2), never, two, one_hot(labels.long(), 2))
    torch.testing.assert_close(result, expected, atol=1e-7, rtol=0)


def test_weights_scale_the_targets() -> None:
    run = run_of(labels=[0, 0, 0, 1, 1, 2])
    targets = 0.5 * one_hot(LABELS) + 0.5 * one_hot(torch.tensor([1, 1, 0]))
    result = focal(scheme="balanced").loss(run, never, LOGITS, targets)
    weighed = targets * torch.tensor([6 / 9, 1, 2], dtype=torch.float64)
    torch.testing.assert_close(result, focal().loss(run_of(), never, LOGITS, weighed))


def test_multi_label_weights_apply_to_present_labels() -> None:
    run = run_of(2, [[1, 0], [1, 0], [1, 0], [1, 1]], True)  # 4 and 1 rows: weights 1/4 and 1, times 5/2
    logits = torch.zeros(1, 2, dtype=torch.float64)
    result = focal(gamma=0.0, scheme="balanced").loss(
        run, never, logits, torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    )
    assert result.tolist() == pytest.approx([(0.625 + 2.5) / 2 * math.log(2)])
    absent = focal(gamma=0.0, scheme="balanced").loss(run, never, logits, torch.zeros(1, 2, dtype=torch.float64))
    assert absent.tolist() == pytest.approx([math.log(2)])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("gamma", [0.25, 1.0, 2.0, 5.0])
def test_neither_loss_nor_gradient_is_ever_not_a_number(multi_label: bool, kind: torch.dtype, gamma: float) -> None:
    most = torch.finfo(torch.float16).max
    logits = torch.tensor([[most, -most], [-most, most], [1e4, -1e4], [0.0, 0.0], [30.0, -30.0]], dtype=kind)
    for targets in ([[1.0, 0.0]] * 5, [[0.0, 1.0]] * 5, [[0.5, 0.5]] * 5):
        leaf = logits.clone().requires_grad_()
        result = focal(gamma=gamma).loss(
            run_of(2, [[1, 0]], multi_label), never, leaf, torch.tensor(targets, dtype=kind)
        )
        assert not result.isnan().any()
        result[torch.isfinite(result)].sum().backward()
        assert leaf.grad is not None and not leaf.grad.isnan().any()


def test_a_scheme_excludes_what_else_weighs_classes() -> None:
    assert focal().excludes() == {}
    assert focal(scheme="balanced").excludes() == {"loss/weighting": "both correct class imbalance"}
