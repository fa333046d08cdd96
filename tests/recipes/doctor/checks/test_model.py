"""Checks of the model and the loss, on stand-ins for a run with exact logits and losses."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recipes.doctor.checks.model import _row_losses, loss_minimum, targets
from recipes.doctor.findings import CheckResult, Finding


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(-1)).sum(-1)


def check_loss(loss: Callable[[Tensor, Tensor], Tensor]) -> list[Finding]:
    run = SimpleNamespace(
        classes=["x", "y", "z"],
        multi_label=False,
        accelerator=SimpleNamespace(device=torch.device("cpu")),
        seams=SimpleNamespace(loss=loss),
    )
    result, subject = CheckResult("model", "loss_minimum", ""), SimpleNamespace(run=run)
    loss_minimum(subject, result)  # type: ignore[arg-type]  (only `run` is used)
    return result.findings


def smoothed(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits, 0.9 * targets + 0.1 / 3)


def test_cross_entropy_with_or_without_smoothing_is_fine() -> None:
    assert check_loss(cross_entropy) == check_loss(smoothed) == []


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda logits, targets: -cross_entropy(logits, targets), "for wrong ones"),
        (lambda logits, targets: cross_entropy(logits, targets.roll(1, -1)), "for wrong ones"),
        (lambda logits, targets: cross_entropy(logits.softmax(-1), targets), "probabilities where it expects logits"),
        (lambda logits, targets: -(targets * logits.softmax(-1).log()).sum(-1), "is NaN or inf"),
    ],
)
def test_a_wrong_loss_is_an_error(loss: Callable[[Tensor, Tensor], Tensor], message: str) -> None:
    (finding,) = check_loss(loss)
    assert finding.severity == "error" and message in finding.message


def check_targets(rows: list[list[float]], weights: list[float]) -> list[Finding]:
    ids = [f"row {row}" for row in range(len(rows))]

    class Batch(SimpleNamespace):
        def __len__(self) -> int:
            return len(ids)

    batch = Batch(ids=ids, targets=torch.tensor(rows), weights=torch.tensor(weights))
    subject: Any = SimpleNamespace(run=SimpleNamespace(multi_label=False), rows=None, batch=lambda rows: batch)
    result = CheckResult("model", "targets", "")
    targets(subject, result)
    return result.findings


def test_targets_sum_to_one_on_rows_with_a_weight() -> None:
    assert check_targets([[1.0, 0.0], [0.3, 0.7], [0.0, 0.0]], [1.0, 1.0, 0.0]) == []
    (finding,) = check_targets([[1.0, 0.0], [0.3, 0.3], [0.0, 0.0]], [1.0, 1.0, 0.0])
    assert finding.message == "the targets of 1 rows do not sum to 1." and finding.rows == ["row 1"]
    (finding,) = check_targets([[1.0, 0.0]], [0.0])
    assert finding.message == "no row has any weight."


def test_row_losses_are_cross_entropies() -> None:
    logits, true = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    one_hot = functional.one_hot(true, 3).float()
    expected = functional.cross_entropy(logits, true, reduction="none")
    assert torch.allclose(_row_losses(logits, one_hot, False), expected)
    expected = functional.binary_cross_entropy_with_logits(logits, one_hot, reduction="none").mean(1)
    assert torch.equal(_row_losses(logits, one_hot, True), expected)


def test_the_loss_is_infinite_exactly_for_labels_without_an_output() -> None:
    losses = _row_losses(torch.zeros(2, 2), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), False)
    assert losses.tolist() == [pytest.approx(math.log(2)), math.inf]
