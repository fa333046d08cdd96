"""The base of the seams: exact numbers on small tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertTokenizer

from recipes.base import Base
from recipes.data.batch import Batch, Loss, Outcome
from recipes.graphs.parts import Parts
from recipes.runtime.steps import StepCount

ROWS, TOKENS, CLASSES = 5, 3, 3


def make_batch() -> Batch:
    """Five rows; the weights differ."""
    targets = functional.one_hot(torch.arange(ROWS) % CLASSES, CLASSES).float()
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 1.5])
    inputs = {"input_ids": torch.ones(ROWS, TOKENS, dtype=torch.long)}
    lengths = torch.full((ROWS,), TOKENS)
    return Batch([str(row) for row in range(ROWS)], inputs, lengths, targets, weights, float(weights.sum()), 4, 7)


def make_base(**fields: Any) -> Base:
    """Build the base of a run that has only these fields."""
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
    batch, model, masks, part_numbers = make_batch(), DropoutOnly(), [], []
    for rank in range(2):
        base = make_base(
            accelerator=SimpleNamespace(
                num_processes=2, process_index=rank, device=torch.device("cpu"), backward=lambda loss: None
            ),
            config=SimpleNamespace(seeds=SimpleNamespace(dropout=0)),
            rows_passed=0,
            model=model,
            head=model.head,
            is_plain=True,
            graphs=Parts(),
        )

        def objective(part: Batch, base: Base = base) -> Outcome:
            outcome = base.objective(part)
            masks.append(tuple(outcome.logits[0].tolist()))
            return outcome

        base.run.seams = cast(Any, SimpleNamespace(loss=lambda logits, targets: logits.sum(1), objective=objective))
        for number, rows in enumerate(([0, 1], [2, 3], [4])):
            part = base._own_rows(batch, np.array(rows), number, 3)
            part_numbers.append(part.part)
            base._backward(part)
    assert part_numbers == [(0,), (2,), (4,), (1,), (3,), (5,)]
    assert len(set(masks)) == 6


def test_each_row_of_a_part_is_on_one_process_and_a_process_without_rows_has_weight_zero() -> None:
    batch, rows_of_processes = make_batch(), []
    for rank in range(2):
        base = make_base(accelerator=SimpleNamespace(num_processes=2, process_index=rank))
        parts = [base._own_rows(batch, np.array(rows), number, 2) for number, rows in enumerate(([0, 1, 2, 3], [4]))]
        rows_of_processes.append([(part.ids, float(part.weights.sum())) for part in parts])
    assert rows_of_processes == [[(["0", "2"], 1.5), (["4"], 1.5)], [(["1", "3"], 3.0), (["4"], 0.0)]]


# The logged losses.


def test_the_plain_cross_entropy_is_measured_against_the_mixed_targets() -> None:
    batch, logits = make_batch(), torch.arange(15.0).reshape(ROWS, CLASSES).sin().requires_grad_()
    mixed = 0.75 * batch.targets + 0.25 * batch.targets.roll(1, 0)
    minimized = logits.square().sum(1)
    base = make_base(
        accelerator=SimpleNamespace(num_processes=1, backward=lambda loss: loss.backward()),
        seams=SimpleNamespace(objective=lambda part: Outcome(minimized, logits, mixed, logits)),
        is_plain=False,
    )
    loss_of_batch: Loss = base._pass(batch)
    log_probabilities = logits.detach().log_softmax(1)
    expected = -(batch.weights[:, None] * mixed * log_probabilities).sum() / 6
    on_own_targets = -(batch.weights[:, None] * batch.targets * log_probabilities).sum() / 6
    assert float(loss_of_batch.cross_entropy) == pytest.approx(float(expected))
    assert abs(float(expected - on_own_targets)) > 0.01
    assert float(loss_of_batch.composed) == pytest.approx(float((minimized.detach() * batch.weights).sum() / 6))
    torch.testing.assert_close(logits.grad, 2 * logits.detach() * batch.weights[:, None] / 6)


# Decisions.


def test_a_probability_of_exactly_a_half_predicts_the_label() -> None:
    base = make_base()
    base.run.multi_label = True
    below = np.nextafter(np.float32(0.5), np.float32(0))
    decisions = base.decide(torch.tensor([[0.5, float(below), 0.9], [0.1, 0.5, 0.0]]))
    assert decisions.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert decisions.dtype == torch.int8


def test_one_label_is_the_most_probable_however_small() -> None:
    decisions = make_base().decide(torch.tensor([[0.2, 0.45, 0.35], [0.9, 0.05, 0.05]]))
    assert decisions.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert decisions.dtype == torch.int8


# Parts of an update.


def test_only_the_last_part_synchronizes_and_all_parts_are_counted() -> None:
    """Two of three parts do not average their gradients over the processes."""
    batch, events = make_batch(), []

    @contextmanager
    def no_sync() -> Iterator[None]:
        events.append("no sync")
        yield

    lengths = torch.tensor([1, 1, 50, 50, 9])
    base = make_base(
        cost_of_pass=1.0,
        parts_passed=4,
        no_sync=no_sync,
        accelerator=SimpleNamespace(num_processes=1, process_index=0),
    )

    def backward(part: Batch) -> Loss:
        events.append(f"part {part.part}")
        return Loss(1.0, 2.0)

    base._backward = backward  # type: ignore[method-assign]
    loss = base.gradient(replace(batch, lengths=lengths))
    assert events == ["no sync", "part (0,)", "no sync", "part (1,)", "part (2,)"]
    assert (loss, base.run.parts_passed) == (Loss(3.0, 6.0), 7)


def test_every_window_counts_as_a_row_passed() -> None:
    """Five windows of two documents are five rows through the model."""
    model = DropoutOnly()
    base = make_base(
        accelerator=SimpleNamespace(device=torch.device("cpu")),
        config=SimpleNamespace(seeds=SimpleNamespace(dropout=0)),
        rows_passed=10.0,
        model=model,
        head=model.head,
        seams=SimpleNamespace(loss=lambda logits, targets: logits.sum(1)),
    )
    base.objective(replace(make_batch(), documents=torch.tensor([0, 0, 0, 1, 1])))
    assert base.run.rows_passed == 15


# The optimizer step.


def base_with_schedule(scaler: Any = None) -> tuple[Base, list[float]]:
    """The base of a run after five batches and three steps of ten. Its schedule always gives 0.5.

    Returns:
        The base, and a list to which each call of the schedule adds its argument.
    """
    weight, fractions = torch.ones(1, requires_grad=True), []
    weight.grad = torch.ones(1)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    optimizer.optimizer = optimizer  # type: ignore[attr-defined]

    def schedule(fraction: float) -> float:
        fractions.append(fraction)
        return 0.5

    steps = StepCount()
    steps.restart(3)
    base = make_base(
        updates=3,
        steps=steps,
        settle_step=steps.settle,
        batches_done=5,
        total_updates=10,
        base_rates=[1.0],
        parameters=[weight],
        optimizer=optimizer,
        config=SimpleNamespace(train=SimpleNamespace(clip_norm=None)),
        seams=SimpleNamespace(schedule=schedule),
        accelerator=SimpleNamespace(
            scaler=scaler, device=torch.device("cpu"), clip_grad_norm_=torch.nn.utils.clip_grad_norm_
        ),
    )
    return base, fractions


@pytest.mark.parametrize(("scale_after", "count"), [(4.0, 1), (8.0, 1), (2.0, 0)])
def test_a_step_counts_unless_the_loss_scale_fell(scale_after: float, count: int) -> None:
    scales = iter([4.0, scale_after])
    base, _ = base_with_schedule(SimpleNamespace(scale=lambda tensor: next(scales) * tensor))
    base.update()
    assert base.run.steps.count == 3 + count


def test_the_schedule_depends_on_steps_and_not_on_batches() -> None:
    """The middle of the fourth of ten steps is at 0.35."""
    base, fractions = base_with_schedule()
    base.update()
    assert fractions == [0.35]
    assert [group["lr"] for group in base.run.optimizer.param_groups] == [pytest.approx(0.5)]
    assert base.run.steps.count == 4


class Counted(torch.optim.SGD):
    """Counts its calls."""

    calls = 0

    def step(self, closure: Any = None) -> None:
        self.calls += 1
        super().step(closure)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(("fused", "calls"), [(True, 1), (False, 0)])
def test_an_infinite_gradient_is_skipped_by_the_optimizer_itself_if_it_can(
    waits: bool, fused: bool, calls: int
) -> None:
    """An optimizer that can skip is called, so that nobody waits for the gradient; another one is not."""
    base, _ = base_with_schedule()
    (weight,) = base.run.parameters
    weight.grad = torch.full((1,), torch.inf)
    optimizer = Counted([weight], lr=1.0, fused=fused)
    base.run.optimizer = SimpleNamespace(optimizer=optimizer, param_groups=optimizer.param_groups)  # type: ignore[assignment]
    base.run.steps.waits = waits
    base.update()
    assert (weight.item(), base.run.steps.count) == (1.0, 3)
    assert optimizer.calls == (0 if waits else calls)
    # The next gradient is finite, so the step is made.
    weight.grad = torch.full((1,), 0.5)
    base.update()
    assert (weight.item(), base.run.steps.count) == (0.75, 4)


# Texts and probabilities.


def test_the_longer_text_of_a_pair_is_truncated() -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    base = make_base(tokenizer=BertTokenizer(vocab=vocabulary), max_length=8)
    input_ids = base.encode(["a b", "a b c d e f"], ["c d e f g h", "g"])["input_ids"]
    assert input_ids == [[2, 5, 6, 3, 7, 8, 9, 3], [2, 5, 6, 7, 8, 3, 11, 3]]


def test_probabilities_sum_to_one_over_the_classes_of_each_row() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, -3.0]])
    base = make_base(bare_model=lambda **inputs: SimpleNamespace(logits=logits))
    torch.testing.assert_close(base.predict(make_batch()).sum(1), torch.ones(2))
    base.run.multi_label = True
    torch.testing.assert_close(base.predict(make_batch()), logits.sigmoid())
