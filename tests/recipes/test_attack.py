"""Attacks: the moves by hand, and gradients that are put aside."""

import pytest
import torch
from torch import nn

from recipes.attack import aside, moved


def test_each_row_moves_by_its_own_norm() -> None:
    direction = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, -0.1]]])
    found, skipped = moved(torch.zeros(2, 2, 2), direction, 2.0, 9.0)
    torch.testing.assert_close(found, torch.tensor([[[1.2, 0.0], [0.0, 1.6]], [[0.0, 0.0], [0.0, -2.0]]]))
    assert skipped.tolist() == [False, False]


def test_what_leads_out_of_the_ball_comes_back_to_its_edge() -> None:
    there = torch.tensor([[[3.0, 0.0]], [[0.0, 0.1]]])
    found, _ = moved(there, torch.tensor([[[0.0, 7.0]], [[0.0, 1.0]]]), 4.0, 2.5)
    torch.testing.assert_close(found, torch.tensor([[[1.5, 2.0]], [[0.0, 2.5]]]))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_rows_without_a_finite_direction_stay_and_are_counted(bad: float) -> None:
    there = torch.tensor([[[0.5, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]])
    direction = torch.tensor([[[bad, 1.0]], [[0.0, 0.0]], [[1.0, 0.0]]])
    found, skipped = moved(there, direction, 1.0, 2.0)
    assert found.tolist() == [[[0.5, 0.0]], [[0.0, 0.0]], [[1.0, 0.0]]]
    assert skipped.tolist() == [True, False, False]


def test_gradients_put_aside_come_back_whatever_happens() -> None:
    layer = nn.Linear(1, 1)
    layer.weight.grad = torch.tensor([[5.0]])
    kept = layer.weight.grad
    with pytest.raises(ZeroDivisionError), aside(list(layer.parameters())):
        layer(torch.ones(1, 1)).sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.tolist() == [[1.0]]
        raise ZeroDivisionError
    assert layer.weight.grad is kept and kept.tolist() == [[5.0]]
    assert layer.bias.grad is None
