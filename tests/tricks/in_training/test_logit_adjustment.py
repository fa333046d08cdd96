"""Logit adjustment: the offsets by hand, and what they make of the loss."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recipes import UserError
from tricks.in_training.logit_adjustment import LogitAdjustment


def run_of(labels: list[Any], multi_label: bool = False) -> Any:
    train = SimpleNamespace(labels=np.array(labels), num_classes=3)
    return SimpleNamespace(train=train, multi_label=multi_label, config=SimpleNamespace(tricks={}))


def adjusted(tau: float, labels: list[Any]) -> list[float]:
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    trick = LogitAdjustment(tau)
    trick.prepare(run_of(labels))
    result = trick.loss(run_of([]), lambda logits, targets: logits, logits, torch.zeros(1, 3))
    assert logits.tolist() == [[1.0, 2.0, 3.0]]
    row: list[float] = result[0].tolist()
    return row


def test_logits_move_by_the_log_of_the_class_frequencies() -> None:
    assert adjusted(1.0, [0, 0, 0, 0, 1, 1, 2, 2]) == pytest.approx([1 - math.log(2), 2 - math.log(4), 3 - math.log(4)])
    assert adjusted(2.0, [0, 1, 1, 2])[0] == pytest.approx(1 - 2 * math.log(4))


def test_a_class_without_rows_counts_as_one_with_one() -> None:
    assert adjusted(1.0, [0, 0, 1])[2] == pytest.approx(3 - math.log(4))


def test_where_all_are_alike_the_probabilities_stay() -> None:
    moved = torch.tensor(adjusted(1.0, [0, 1, 2]))
    torch.testing.assert_close(moved.softmax(0), torch.tensor([1.0, 2.0, 3.0]).softmax(0))


def test_multi_label_rows_are_refused() -> None:
    with pytest.raises(UserError, match=r"tricks\.logit_adjustment: rows have several labels here"):
        LogitAdjustment(1.0).prepare(run_of([[1, 0, 1]], True))
