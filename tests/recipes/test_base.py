"""The base of the seams, by exact numbers on small tensors."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.base import Base
from recipes.data.batch import Batch, Loss, Outcome

ROWS, TOKENS, CLASSES = 5, 3, 3


def make_batch() -> Batch:
    """Five rows; the weights differ."""
    targets = functional.one_hot(torch.arange(ROWS) % CLASSES, CLASSES).float()
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 1.5])
    inputs = {"input_ids": torch.ones(ROWS, TOKENS, dtype=torch.long)}
    lengths = torch.full((ROWS,), TOKENS)
    return Batch([str(row) for row in range(ROWS)], inputs, lengths, targets, weights, float(weights.sum()), 4, 7)


def base_of(**fields: Any) -> Base:
    """The base of a run that has these fields alone."""
    run: Any = SimpleNamespace(multi_label=False, **fields)
    return Base(run)


# Several processes.


class DropoutOnly(nn.Module):
    """Dropout on ones, so that the logits show what is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 64, bias=False)
        nn.init.eye_(self.head.weight)

    def forward(self, input_ids: Tensor) -> Any:
        return SimpleNamespace(logits=self.head(functional.dropout(torch.ones(len(input_ids), 64), 0.5)))


def test_processes_draw_different_dropout_for_the_same_part() -> None:
    """Three parts on two processes are six draws, no two of them alike."""
    batch, model, masks, places = make_batch(), DropoutOnly(), [], []
    for rank in range(2):
        base = base_of(
            accelerator=SimpleNamespace(num_processes=2, process_index=rank, device=torch.device("cpu")),
            config=SimpleNamespace(seeds=SimpleNamespace(dropout=0)),
            rows_passed=0,
            model=model,
            head=model.head,
            seams=SimpleNamespace(loss=lambda logits, targets: logits.sum(1)),
        )
        for number, rows in enumerate(([0, 1], [2, 3], [4])):
            part = base._own_rows(batch, np.array(rows), number, 3)
            places.append(part.part)
            masks.append(tuple(base.objective(part).logits[0].tolist()))
    assert places == [(0,), (2,), (4,), (1,), (3,), (5,)]
    assert len(set(masks)) == 6


def test_each_row_of_a_part_is_with_one_process_and_who_has_none_counts_nothing() -> None:
    batch, found = make_batch(), []
    for rank in range(2):
        base = base_of(accelerator=SimpleNamespace(num_processes=2, process_index=rank))
        parts = [base._own_rows(batch, np.array(rows), number, 2) for number, rows in enumerate(([0, 1, 2, 3], [4]))]
        found.append([(part.ids, float(part.weights.sum())) for part in parts])
    assert found == [[(["0", "2"], 1.5), (["4"], 1.5)], [(["1", "3"], 3.0), (["4"], 0.0)]]


# The losses that are logged.


def test_the_plain_cross_entropy_is_measured_against_the_mixed_targets() -> None:
    batch, logits = make_batch(), torch.arange(15.0).reshape(ROWS, CLASSES).sin().requires_grad_()
    mixed = 0.75 * batch.targets + 0.25 * batch.targets.roll(1, 0)
    minimized = logits.square().sum(1)
    base = base_of(
        accelerator=SimpleNamespace(num_processes=1, backward=lambda loss: loss.backward()),
        seams=SimpleNamespace(objective=lambda part: Outcome(minimized, logits, mixed, logits)),
        is_plain=False,
    )
    found: Loss = base._backward(batch)
    shares = logits.detach().log_softmax(1)
    wanted = -(batch.weights[:, None] * mixed * shares).sum() / 6
    on_own_targets = -(batch.weights[:, None] * batch.targets * shares).sum() / 6
    assert float(found.cross_entropy) == pytest.approx(float(wanted))
    assert abs(float(wanted - on_own_targets)) > 0.01
    assert float(found.composed) == pytest.approx(float((minimized.detach() * batch.weights).sum() / 6))
    torch.testing.assert_close(logits.grad, 2 * logits.detach() * batch.weights[:, None] / 6)


# Decisions.


def test_a_probability_of_exactly_a_half_is_answered() -> None:
    base = base_of()
    base.run.multi_label = True
    below = np.nextafter(np.float32(0.5), np.float32(0))
    found = base.decide(torch.tensor([[0.5, float(below), 0.9], [0.1, 0.5, 0.0]]))
    assert found.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert found.dtype == torch.int8


def test_one_label_is_the_most_probable_however_small() -> None:
    found = base_of().decide(torch.tensor([[0.2, 0.45, 0.35], [0.9, 0.05, 0.05]]))
    assert found.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert found.dtype == torch.int8
