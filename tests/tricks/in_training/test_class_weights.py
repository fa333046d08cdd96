"""Class weights: they scale the targets that go inward, and nothing else."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from recipes import UserError
from tricks.in_training.class_weights import ClassWeights


def run_of(labels: list[Any], multi_label: bool = False) -> Any:
    train = SimpleNamespace(labels=np.array(labels), num_classes=2)
    return SimpleNamespace(
        train=train, classes=["no", "yes"], multi_label=multi_label, config=SimpleNamespace(tricks={})
    )


def prepared(run: Any, **values: Any) -> ClassWeights:
    trick = ClassWeights(**{"scheme": "balanced", "beta": 0.9, "values": {}, **values})
    trick.prepare(run)
    return trick


def test_columns_of_the_targets_are_scaled() -> None:
    calls = []

    def inner(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls.append(targets)
        return torch.tensor([5.0, 7.0])

    logits, targets = torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    result = prepared(run_of([0, 0, 0, 1])).loss(run_of([]), inner, logits, targets)
    assert result.tolist() == [5.0, 7.0]
    torch.testing.assert_close(calls[0], torch.tensor([[2 / 3, 0.0], [0.25 * 2 / 3, 1.5]]))
    assert targets.tolist() == [[1.0, 0.0], [0.25, 0.75]]


def test_the_loss_is_that_of_torch_with_weights_on_the_right_class() -> None:
    def plain(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits, targets, reduction="none")

    logits, labels = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 0.0]]), torch.tensor([0, 1, 1])
    result = prepared(run_of([0, 0, 0, 1])).loss(run_of([]), plain, logits, functional.one_hot(labels, 2).float())
    torch.testing.assert_close(
        result, functional.cross_entropy(logits, labels, torch.tensor([2 / 3, 2.0]), reduction="none")
    )


def test_multi_label_rows_are_refused() -> None:
    with pytest.raises(UserError, match=r"tricks\.class_weights: rows have several labels here"):
        prepared(run_of([[1, 1]], multi_label=True))


def test_a_class_without_a_weight_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(
        UserError, match="every class needs a weight; missing: yes; set tricks.class_weights.values.yes"
    ):
        prepared(run_of([0, 1]), scheme="given", values={"no": 1.0})
