"""Gradients put aside, taken back and added."""

import pytest
import torch
from torch import nn

from recipes.toolkit.gradients import add_gradients, set_gradients_aside, take_gradients


def test_gradients_put_aside_come_back_whatever_happens() -> None:
    layer = nn.Linear(1, 1)
    layer.weight.grad = torch.tensor([[5.0]])
    remaining = layer.weight.grad
    with pytest.raises(ZeroDivisionError), set_gradients_aside(list(layer.parameters())):
        layer(torch.ones(1, 1)).sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.tolist() == [[1.0]]
        raise ZeroDivisionError
    assert layer.weight.grad is remaining and remaining.tolist() == [[5.0]]
    assert layer.bias.grad is None


def test_previous_gradients_are_added_to_later_ones() -> None:
    layer = nn.Linear(1, 1)
    layer.weight.grad = torch.tensor([[5.0]])
    before = take_gradients(list(layer.parameters()))
    assert layer.weight.grad is None
    layer(torch.full((1, 1), 2.0)).sum().backward()
    add_gradients(list(layer.parameters()), before)
    assert layer.weight.grad is not None and layer.weight.grad.tolist() == [[7.0]]
    assert layer.bias.grad is not None and layer.bias.grad.tolist() == [1.0]
