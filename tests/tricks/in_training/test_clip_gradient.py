"""Clip gradient: both limits by hand, what is left out, and gradients that are scaled."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tricks.in_training.clip_gradient import ClipGradient


class Model(nn.Module):
    """Two units of two weights, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(2, 2), nn.Linear(2, 1)
        self.layer.weight.data = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
        self.layer.bias.data = torch.tensor([0.6, 0.8])


def clipped(how: str, limit: float, scale: float | None = None) -> Model:
    """The model with a gradient of 1 everywhere, times the scale, after clipping."""
    model = Model()
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, scale or 1.0)
    scaler = None if scale is None else SimpleNamespace(scale=lambda values: scale * values)
    run: Any = SimpleNamespace(
        parameters=list(model.parameters()), head=model.head, accelerator=SimpleNamespace(scaler=scaler)
    )
    stepped = []
    ClipGradient(how, limit).update(run, lambda: stepped.append(True))
    assert stepped == [True]
    return model


def grad(weight: torch.Tensor) -> list[Any]:
    assert weight.grad is not None
    return weight.grad.tolist()


def test_value() -> None:
    model = clipped("value", 0.25)
    assert grad(model.layer.weight) == [[0.25, 0.25], [0.25, 0.25]]
    assert grad(model.head.weight) == [[0.25, 0.25]]
    assert grad(clipped("value", 2.0).layer.bias) == [1.0, 1.0]


def test_adaptive() -> None:
    model = clipped("adaptive", 0.1)
    root = 2**0.5
    # |w| = 5 and 0, taken as 0.001; |g| = sqrt(2).
    assert grad(model.layer.weight)[0] == pytest.approx([0.5 / root] * 2)
    assert grad(model.layer.weight)[1] == pytest.approx([0.0001 / root] * 2)
    assert grad(model.layer.bias) == pytest.approx([0.1 / root] * 2)
    assert grad(model.head.weight) == [[1.0, 1.0]]
    assert grad(clipped("adaptive", 1.0).layer.weight)[0] == [1.0, 1.0]


@pytest.mark.parametrize("how", ["value", "adaptive"])
def test_a_loss_scale_scales_the_limit(how: str) -> None:
    plain, scaled = clipped(how, 0.1), clipped(how, 0.1, scale=8.0)
    torch.testing.assert_close(8.0 * plain.layer.weight.grad, scaled.layer.weight.grad)  # type: ignore[operator]


def test_no_gradient_is_no_trouble() -> None:
    model = Model()
    run: Any = SimpleNamespace(
        parameters=list(model.parameters()), head=model.head, accelerator=SimpleNamespace(scaler=None)
    )
    ClipGradient("adaptive", 0.1).update(run, lambda: None)
    assert model.layer.weight.grad is None
