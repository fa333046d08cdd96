"""The forward pass of the doctor: all logits, and the first module with NaN or inf."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recipes.data.batch import Batch
from recipes.doctor import forward
from recipes.doctor.forward import run_forward


class SquareRoots(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.sqrt()


class Classifier(nn.Module):
    """Gives the square root of the first token and of the second one; it is NaN for negative tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.root, self.last = SquareRoots(), nn.Dropout(0.5)

    def forward(self, values: Tensor) -> Any:
        return SimpleNamespace(logits=self.last(self.root(values)))


def make_batch(values: Tensor) -> Batch:
    count = len(values)
    lengths, weights = torch.full((count,), values.shape[1]), torch.ones(count)
    ids = [f"row {row}" for row in range(count)]
    return Batch(ids, {"values": values}, lengths, torch.zeros(count, 2), weights, float(count), 0, 0)


@pytest.mark.parametrize("rows_at_once", [1, 2, 8])
def test_all_rows_are_passed_without_dropout_and_hooks_are_removed(
    rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "ROWS_AT_ONCE", rows_at_once)
    model, values = Classifier(), torch.arange(10.0).reshape(5, 2)
    output = run_forward(model, make_batch(values))
    assert torch.equal(output.logits, values.sqrt()) and output.non_finite is None
    assert model.training and not model.root._forward_hooks and not model.last._forward_hooks


@pytest.mark.parametrize(("rows_at_once", "rows"), [(8, ["row 1", "row 3"]), (2, ["row 1"])])
def test_the_first_module_with_nan_is_reported_with_its_rows(
    rows_at_once: int, rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "ROWS_AT_ONCE", rows_at_once)
    values = torch.ones(4, 2)
    values[1, 0] = values[3, 1] = -1.0
    assert run_forward(Classifier(), make_batch(values)).non_finite == ("root", rows)


class NanAt(nn.Module):
    """Turns one number into NaN."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, values: Tensor) -> Tensor:
        return values.masked_fill(values == self.number, torch.nan)


class TwoModules(nn.Module):
    """Its first module turns 1 into NaN, its second module 2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = NanAt(1), NanAt(2)

    def forward(self, values: Tensor) -> Any:
        return SimpleNamespace(logits=self.second(self.first(values)))


@pytest.mark.parametrize(
    ("values", "non_finite"),
    [
        ([0, 0, 0, 0, 0], None),
        ([0, 1, 0, 0, 0], ("first", ["row 1"])),
        ([0, 0, 0, 2, 1], ("second", ["row 3"])),
        ([2, 2, 1, 0, 1], ("second", ["row 0", "row 1"])),
    ],
)
def test_later_rows_do_not_replace_the_first_module_with_nan(
    values: list[int], non_finite: tuple[str, list[str]] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "ROWS_AT_ONCE", 2)
    output = run_forward(TwoModules(), make_batch(torch.tensor(values).float()[:, None]))
    assert output.non_finite == non_finite
    assert output.logits.shape == (5, 1)
