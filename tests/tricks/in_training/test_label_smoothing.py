"""Label smoothing: the targets by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from tricks.in_training.label_smoothing import LabelSmoothing


def smoothed(amount: float, targets: list[list[float]], multi_label: bool = False) -> list[list[float]]:
    run: Any = SimpleNamespace(multi_label=multi_label)
    given = torch.tensor(targets)
    result: list[list[float]] = (
        LabelSmoothing(amount).loss(run, lambda logits, targets: targets, torch.zeros_like(given), given).tolist()
    )
    return result


def test_a_single_label_is_spread_over_all_classes() -> None:
    assert smoothed(0.2, [[1, 0, 0, 0]])[0] == pytest.approx([0.85, 0.05, 0.05, 0.05])


def test_of_mixed_labels_too_and_they_still_sum_to_one() -> None:
    assert smoothed(0.3, [[0.5, 0.5, 0.0]])[0] == pytest.approx([0.45, 0.45, 0.1])


def test_each_of_multiple_labels_is_smoothed() -> None:
    assert smoothed(0.2, [[1, 0, 1]], multi_label=True)[0] == pytest.approx([0.9, 0.1, 0.9])


def test_it_is_torchs() -> None:
    run: Any = SimpleNamespace(multi_label=False)

    def plain(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits, targets, reduction="none")

    logits, labels = torch.tensor([[1.0, -2.0, 0.0], [0.5, 3.0, 1.0]]), torch.tensor([0, 2])
    result = LabelSmoothing(0.1).loss(run, plain, logits, functional.one_hot(labels, 3).float())
    torch.testing.assert_close(result, functional.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1))
