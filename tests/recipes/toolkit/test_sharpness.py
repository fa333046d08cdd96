"""Moved weights: they come back, whatever happens."""

import pytest
import torch
from torch import nn

from recipes.toolkit.sharpness import displace


def test_weights_are_restored_after_an_error() -> None:
    layer = nn.Linear(1, 1)
    # 0.1 + 0.7 - 0.7 is not 0.1.
    layer.weight.data.fill_(0.1)
    remaining = layer.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), displace({layer.weight: torch.tensor([[0.7]])}):
        assert layer.weight.item() == pytest.approx(0.8)
        raise ZeroDivisionError
    assert torch.equal(layer.weight, remaining)
