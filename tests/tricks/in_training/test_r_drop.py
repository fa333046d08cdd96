"""R-Drop: its loss by hand, other people's definitions in terms of ours, and what the two copies are."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.data.batch import Batch, Outcome
from recipes.testing import in_child, temporary_folder, tiny_config, tiny_run
from tricks.in_training.r_drop import RDrop, disagreement

ONE = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]], dtype=torch.float64)
OTHER = torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, -3.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


def make_batch() -> Batch:
    ones = torch.ones(2, 3, dtype=torch.long)
    return Batch(["a", "b"], {"input_ids": ones}, torch.tensor([3, 3]), torch.eye(3)[LABELS], torch.ones(2), 2.0, 4, 5)


def run_of(multi_label: bool = False) -> Any:
    return SimpleNamespace(multi_label=multi_label)


def ours(alpha: float) -> Tensor:
    """The mean loss of the two passes ONE and OTHER."""
    passes = iter([ONE, OTHER])

    def inner(batch: Batch) -> Outcome:
        logits = next(passes)
        return Outcome(functional.cross_entropy(logits, LABELS, reduction="none"), logits, batch.targets, logits)

    return RDrop(alpha).objective(run_of(), inner, make_batch()).loss.mean()


def kl(first: Tensor, second: Tensor) -> Tensor:
    return functional.kl_div(second.log_softmax(-1), first.log_softmax(-1), reduction="none", log_target=True)


def test_the_disagreement_by_hand() -> None:
    one, other = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])  # 3/4 and 1/4, 1/2 and 1/2
    forth = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    back = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    assert disagreement(one, other, False).tolist() == pytest.approx([(forth + back) / 2])
    each = torch.tensor([[math.log(3.0), 0.0, math.log(3.0)]])  # three classes with a sigmoid each
    assert disagreement(each, torch.zeros(1, 3), True).tolist() == pytest.approx([forth + back])


def test_the_loss_is_the_mean_of_both_and_alpha_times_the_disagreement() -> None:
    plain = [functional.cross_entropy(logits, LABELS) for logits in (ONE, OTHER)]
    gap = (kl(ONE, OTHER).sum() + kl(OTHER, ONE).sum()) / 2 / 2
    torch.testing.assert_close(ours(3.0), (plain[0] + plain[1]) / 2 + 3 * gap)


def test_the_official_code() -> None:
    """CE + CE + 1/2 * 1/2 (sum KL + sum KL), the KLs summed over the batch; half of it is ours at rows / 4."""
    official = functional.cross_entropy(ONE, LABELS) + functional.cross_entropy(OTHER, LABELS)
    official = official + 0.5 * 0.5 * (kl(ONE, OTHER).sum() + kl(OTHER, ONE).sum())
    torch.testing.assert_close(2 * ours(len(LABELS) / 4), official)


def test_bert4torch() -> None:
    """CE over both + alpha / 4 (mean KL + mean KL), the KLs averaged over rows and classes."""
    theirs = functional.cross_entropy(torch.cat([ONE, OTHER]), torch.cat([LABELS, LABELS]))
    theirs = theirs + 4 / 4 * (kl(ONE, OTHER).mean() + kl(OTHER, ONE).mean())
    torch.testing.assert_close(ours(4 / (2 * 3)), theirs)


def test_the_second_pass_has_the_same_rows_and_other_dropout() -> None:
    calls = []

    def inner(batch: Batch) -> Outcome:
        calls.append(batch)
        return Outcome(torch.zeros(2), torch.full((2, 3), float(len(calls))), batch.targets, torch.zeros(2, 3))

    batch = make_batch()
    outcome = RDrop(1.0).objective(run_of(), inner, batch)
    assert [each.part for each in calls] == [(), (1,)]
    assert all(each.inputs is batch.inputs and each.targets is batch.targets for each in calls)
    assert outcome.logits.tolist() == [[1.0] * 3] * 2


def test_gradients_go_both_ways() -> None:
    one, other = ONE.clone().requires_grad_(), OTHER.clone().requires_grad_()
    disagreement(one, other, False).sum().backward()
    assert one.grad is not None and other.grad is not None
    assert one.grad.abs().sum() > 0 and other.grad.abs().sum() > 0


@pytest.mark.parametrize("multi", [False, True])
def test_sixteen_bits_are_enough(multi: bool) -> None:
    far = torch.tensor([[6e4, -6e4, 0.0]], dtype=torch.float16)
    assert disagreement(far, -far, multi).isfinite().all()


@pytest.mark.parametrize(("fraction", "message"), [(0.1, 0), (0.0, 1)])
def test_a_model_without_dropout_is_reported(fraction: float, message: int) -> None:
    run: Any = SimpleNamespace(bare_model=nn.Sequential(nn.Linear(1, 1), nn.Dropout(fraction)))
    assert len(list(RDrop(1.0).check(run))) == message


def test_the_first_pass_draws_what_it_draws_without_the_trick_and_the_second_continues() -> None:
    """Law 6 for draws on the device: one seed for both passes, set before the first."""

    def logits(*overrides: str) -> list[Tensor]:
        with temporary_folder() as folder:
            run = tiny_run(tiny_config(*overrides), folder)
            base, passes = run.seams.loss, list[Tensor]()

            def record(logits: Tensor, targets: Tensor) -> Tensor:
                passes.append(logits.detach().clone())
                return base(logits, targets)

            run.seams.loss = record  # type: ignore[method-assign]
            for _ in range(2):
                run.seams.gradient(run.seams.batches(run.train, 0)[0])
            return passes

    def compare() -> list[bool]:
        plain, plain_again = logits()
        first, second, first_again, second_again = logits("+tricks=[r_drop]")
        return [
            torch.equal(plain, plain_again) and torch.equal(plain, first),
            torch.equal(first, first_again) and torch.equal(second, second_again),
            not torch.equal(first, second),
        ]

    assert in_child(compare) == [True] * 3
