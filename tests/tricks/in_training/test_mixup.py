"""Mixup: the arithmetic of the plan, of the vectors and of the targets, worked out by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recipes.batch import Batch, Loss
from tricks.in_training.mixup import LAMBDA, Mixup, mix_vectors, mixture, plan

# Two rows of four tokens with vectors of three numbers; the first row has two tokens, the second four.
OWN = torch.tensor(
    [
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]],
        [[10.0, 20.0, 30.0], [40.0, 50.0, 60.0], [70.0, 80.0, 90.0], [-1.0, -2.0, -3.0]],
    ]
)
MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
SWAPPED = [1, 0]


def make_batch() -> Batch:
    return Batch(
        ids=["short", "long"],
        inputs={
            "input_ids": torch.tensor([[5, 6, 0, 0], [7, 8, 9, 4]]),
            "token_type_ids": torch.tensor([[0, 1, 0, 0], [0, 0, 1, 1]]),
            "attention_mask": MASK,
        },
        lengths=torch.tensor([2, 4]),
        targets=torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        weights=torch.ones(2),
        total=2.0,
        epoch=1,
        index=2,
    )


def planned(*lambdas: float) -> Batch:
    return plan(make_batch(), np.array(SWAPPED), np.array(lambdas))


class TestPlan:
    def test_every_row_carries_its_partner_and_its_lambda(self) -> None:
        batch = planned(0.75, 0.5)
        assert batch.partners is not None
        assert batch.partners.ids == ["long", "short"]
        assert batch.partners.inputs["input_ids"].tolist() == [[7, 8, 9, 4], [5, 6, 0, 0]]
        assert batch.partners.targets.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        assert batch.carried[LAMBDA].tolist() == [0.75, 0.5]
        assert batch.lengths.tolist() == [4, 4]
        assert batch.inputs["input_ids"].tolist() == make_batch().inputs["input_ids"].tolist()

    def test_a_row_alone_is_its_own_partner_and_needs_no_more_room(self) -> None:
        batch = planned(1.0, 0.5)
        assert batch.partners is not None
        assert batch.partners.ids == ["short", "short"]
        assert batch.lengths.tolist() == [2, 4]
        assert batch.take(np.array([0]), 0).inputs["input_ids"].tolist() == [[5, 6]]

    def test_a_part_is_as_wide_as_its_partners(self) -> None:
        part = planned(0.75, 0.5).take(np.array([0]), 0)
        assert part.partners is not None
        assert part.inputs["input_ids"].shape == part.partners.inputs["input_ids"].shape == (1, 4)

    def test_what_others_carry_stays(self) -> None:
        batch = make_batch()
        carrying = Batch(**{**vars(batch), "carried": {"other": torch.tensor([1.0, 2.0])}})
        assert set(plan(carrying, np.array(SWAPPED), np.array([0.5, 0.5])).carried) == {"other", LAMBDA}


class TestMixVectors:
    def mixed(self, *lambdas: float, own: Tensor = OWN) -> Tensor:
        return mix_vectors(own, OWN[SWAPPED], MASK, MASK[SWAPPED], torch.tensor(lambdas))

    def test_by_hand(self) -> None:
        assert self.mixed(0.75, 0.5).tolist() == [
            # 3/4 of the short row and 1/4 of the long one; behind the short one's end 1/4 of the long one alone.
            [[3.25, 6.5, 9.75], [13.0, 16.25, 19.5], [17.5, 20.0, 22.5], [-0.25, -0.5, -0.75]],
            # Half of each; the short row's padding (9) has no part in it.
            [[5.5, 11.0, 16.5], [22.0, 27.5, 33.0], [35.0, 40.0, 45.0], [-0.5, -1.0, -1.5]],
        ]

    def test_lambda_one_keeps_a_row_bit_for_bit(self) -> None:
        own = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
        found = mix_vectors(own, own[[0, 0]], MASK, MASK[[0, 0]], torch.tensor([1.0, 0.3]))
        assert torch.equal(found[0, :2], own[0, :2])
        assert not torch.equal(found[1], own[1])

    def test_lambda_zero_is_the_partner(self) -> None:
        assert torch.equal(self.mixed(0.0, 0.0)[0], OWN[1])

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_keeps_the_precision_of_the_vectors(self, dtype: torch.dtype) -> None:
        vectors = OWN.to(dtype)
        assert mix_vectors(vectors, vectors, MASK, MASK, torch.tensor([0.5, 0.5])).dtype == dtype

    def test_both_texts_get_their_share_of_the_gradient(self) -> None:
        own, other = OWN.clone().requires_grad_(), OWN[SWAPPED].clone().requires_grad_()
        mix_vectors(own, other, MASK, MASK[SWAPPED], torch.tensor([0.75, 0.5])).sum().backward()
        assert own.grad is not None and other.grad is not None
        assert own.grad[..., 0].tolist() == [[0.75, 0.75, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]]
        assert other.grad[..., 0].tolist() == [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]]


class TestMixture:
    def made(self, *lambdas: float) -> Batch:
        batch = planned(*lambdas)
        assert batch.partners is not None
        return mixture(batch, batch.partners, batch.carried[LAMBDA])

    def test_attends_to_the_longer_text(self) -> None:
        assert self.made(0.75, 0.5).inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
        assert self.made(0.75, 0.5).inputs["attention_mask"].dtype == MASK.dtype

    def test_behind_its_end_a_row_has_its_partners_ids(self) -> None:
        inputs = self.made(0.75, 0.5).inputs
        assert inputs["input_ids"].tolist() == [[5, 6, 9, 4], [7, 8, 9, 4]]
        assert inputs["token_type_ids"].tolist() == [[0, 1, 1, 1], [0, 0, 1, 1]]

    def test_targets_by_hand(self) -> None:
        assert self.made(0.75, 0.5).targets.tolist() == [[0.75, 0.0, 0.25], [0.5, 0.0, 0.5]]

    def test_a_row_alone_keeps_mask_ids_and_target(self) -> None:
        made = self.made(1.0, 0.5)
        for name, values in make_batch().inputs.items():
            assert torch.equal(made.inputs[name][0], values[0]), name
        assert made.targets[0].tolist() == [1.0, 0.0, 0.0]

    def test_several_labels_stay_between_0_and_1(self) -> None:
        batch = Batch(**{**vars(make_batch()), "targets": torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])})
        batch = plan(batch, np.array(SWAPPED), np.array([0.75, 0.5]))
        assert batch.partners is not None
        assert mixture(batch, batch.partners, batch.carried[LAMBDA]).targets.tolist() == [[0.75, 1, 0], [0.5, 1, 0]]

    def test_is_mixed_once(self) -> None:
        assert self.made(0.75, 0.5).partners is None


class TestWhen:
    """Which updates and which rows are mixed."""

    ROWS = 400

    def seen(self, updates: int = 50, **values: float) -> Batch:
        asked: list[tuple[Any, ...]] = []

        def generator(purpose: str, batch: Batch) -> np.random.Generator:
            asked.append((purpose, batch))
            return np.random.default_rng(3)

        run: Any = SimpleNamespace(updates=updates, total_updates=100, generator=generator)
        trick = Mixup(**{"alpha": 0.4, "share": 1.0, "warmup": 0.0, "cooldown": 0.0, **values})
        batch, found = make_batch().reordered(np.arange(self.ROWS) % 2), []
        trick.gradient(run, lambda each: found.append(each) or Loss(), batch)  # type: ignore[func-returns-value]
        assert all(purpose == "mixup" and each is batch for purpose, each in asked)
        (one,) = found
        return batch if one is batch else one

    @pytest.mark.parametrize(
        ("updates", "mixed"), [(0, False), (19, False), (20, True), (69, True), (70, False), (99, False)]
    )
    def test_not_in_warmup_and_cooldown(self, updates: int, mixed: bool) -> None:
        assert (self.seen(updates, warmup=0.2, cooldown=0.3).partners is not None) == mixed

    def test_all_of_training_by_default(self) -> None:
        assert self.seen(0).partners is not None
        assert self.seen(99).partners is not None

    def test_a_share_of_the_rows(self) -> None:
        lambdas = self.seen(share=0.25).carried[LAMBDA]
        assert 0.18 < float((lambdas != 1.0).float().mean()) < 0.32
        assert (self.seen(share=0.0).carried[LAMBDA] == 1.0).all()

    def test_partners_are_a_permutation(self) -> None:
        partners = self.seen(alpha=1.0).partners
        assert partners is not None
        assert sorted(partners.ids) == ["long"] * 200 + ["short"] * 200

    @pytest.mark.parametrize("alpha", [0.4, 1.0, 5.0])
    def test_lambda_is_drawn_from_beta(self, alpha: float) -> None:
        lambdas = self.seen(alpha=alpha).carried[LAMBDA]
        assert abs(float(lambdas.mean()) - 0.5) < 0.06
        assert abs(float(lambdas.var()) - 1 / (4 * (2 * alpha + 1))) < 0.02

    def test_one_row_has_nobody_to_be_mixed_with(self) -> None:
        run: Any = SimpleNamespace(updates=0, total_updates=10)
        alone = make_batch().reordered(np.array([0]))
        found: list[Batch] = []
        trick = Mixup(alpha=0.4, share=1.0, warmup=0.0, cooldown=0.0)
        trick.gradient(run, lambda each: found.append(each) or Loss(), alone)  # type: ignore[func-returns-value]
        assert found == [alone]
