"""Mixup: the arithmetic of the plan, of the vectors and of the targets, worked out by hand."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recipes import UserError
from recipes.data.batch import Batch, Loss, Outcome
from recipes.models.anatomy import pooled_vectors
from recipes.toolkit import mixing, word_choice
from recipes.toolkit.mixing import mix_inputs, mix_vectors
from tricks.in_training.mixup import FROM_PARTNER, LAMBDA, LAYER, Mixup, plan

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


def mixup(**values: Any) -> Mixup:
    settings = {
        "level": "embedding",
        "mask": "whole",
        "depths": [0.5],
        "block": 2,
        "partners": 3,
        "smoothness": 0.3,
        "prior": 0.2,
    }
    return Mixup(**{**settings, "alpha": 0.4, "fraction": 1.0, "warmup": 0.0, "cooldown": 0.0, **values})


def planned(*lambdas: float) -> Batch:
    return plan(make_batch(), np.array(SWAPPED), np.array(lambdas))


class TestPlan:
    def test_every_row_carries_its_partner_and_its_lambda(self) -> None:
        batch = planned(0.75, 0.5)
        (partners,) = batch.partners
        assert partners.ids == ["long", "short"]
        assert partners.inputs["input_ids"].tolist() == [[7, 8, 9, 4], [5, 6, 0, 0]]
        assert partners.targets.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        assert batch.carried[LAMBDA].tolist() == [0.75, 0.5]
        assert batch.lengths.tolist() == [4, 4]
        assert batch.inputs["input_ids"].tolist() == make_batch().inputs["input_ids"].tolist()

    def test_a_row_alone_is_its_own_partner_and_needs_no_more_room(self) -> None:
        batch = planned(1.0, 0.5)
        (partners,) = batch.partners
        assert partners.ids == ["short", "short"]
        assert batch.lengths.tolist() == [2, 4]
        assert batch.take(np.array([0]), 0).inputs["input_ids"].tolist() == [[5, 6]]

    def test_a_part_is_as_wide_as_its_partners(self) -> None:
        part = planned(0.75, 0.5).take(np.array([0]), 0)
        (partners,) = part.partners
        assert part.inputs["input_ids"].shape == partners.inputs["input_ids"].shape == (1, 4)

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
        result = mix_vectors(own, own[[0, 0]], MASK, MASK[[0, 0]], torch.tensor([1.0, 0.3]))
        assert torch.equal(result[0, :2], own[0, :2])
        assert not torch.equal(result[1], own[1])

    def test_lambda_zero_is_the_partner(self) -> None:
        assert torch.equal(self.mixed(0.0, 0.0)[0], OWN[1])

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_keeps_the_precision_of_the_vectors(self, dtype: torch.dtype) -> None:
        vectors = OWN.to(dtype)
        assert mix_vectors(vectors, vectors, MASK, MASK, torch.tensor([0.5, 0.5])).dtype == dtype

    def test_both_texts_get_their_part_of_the_gradient(self) -> None:
        own, other = OWN.clone().requires_grad_(), OWN[SWAPPED].clone().requires_grad_()
        mix_vectors(own, other, MASK, MASK[SWAPPED], torch.tensor([0.75, 0.5])).sum().backward()
        assert own.grad is not None and other.grad is not None
        assert own.grad[..., 0].tolist() == [[0.75, 0.75, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]]
        assert other.grad[..., 0].tolist() == [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]]


class TestMixture:
    def output(self, *lambdas: float) -> Batch:
        batch = planned(*lambdas)
        return mix_inputs(batch, *batch.partners, batch.carried[LAMBDA])

    def test_attends_to_the_longer_text(self) -> None:
        assert self.output(0.75, 0.5).inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
        assert self.output(0.75, 0.5).inputs["attention_mask"].dtype == MASK.dtype

    def test_behind_its_end_a_row_has_its_partners_ids(self) -> None:
        inputs = self.output(0.75, 0.5).inputs
        assert inputs["input_ids"].tolist() == [[5, 6, 9, 4], [7, 8, 9, 4]]
        assert inputs["token_type_ids"].tolist() == [[0, 1, 1, 1], [0, 0, 1, 1]]

    def test_targets_by_hand(self) -> None:
        assert self.output(0.75, 0.5).targets.tolist() == [[0.75, 0.0, 0.25], [0.5, 0.0, 0.5]]

    def test_answers_of_a_teacher_are_mixed_like_targets(self) -> None:
        taught = replace(make_batch(), teacher=make_batch().targets)
        batch = plan(taught, np.array(SWAPPED), np.array([0.75, 0.5]))
        (partners,) = batch.partners
        output = mix_inputs(batch, partners, batch.carried[LAMBDA])
        assert output.teacher is not None
        assert output.teacher.tolist() == [[0.75, 0.0, 0.25], [0.5, 0.0, 0.5]]

    def test_a_row_alone_keeps_mask_ids_and_target(self) -> None:
        output = self.output(1.0, 0.5)
        for name, values in make_batch().inputs.items():
            assert torch.equal(output.inputs[name][0], values[0]), name
        assert output.targets[0].tolist() == [1.0, 0.0, 0.0]

    def test_multi_label_targets_stay_between_0_and_1(self) -> None:
        batch = Batch(**{**vars(make_batch()), "targets": torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])})
        batch = plan(batch, np.array(SWAPPED), np.array([0.75, 0.5]))
        assert mix_inputs(batch, *batch.partners, batch.carried[LAMBDA]).targets.tolist() == [[0.75, 1, 0], [0.5, 1, 0]]

    def test_is_mixed_once(self) -> None:
        assert self.output(0.75, 0.5).partners == ()


class TestWhen:
    """Which updates and which rows are mixed."""

    ROWS = 400

    def calls(self, updates: int = 50, **values: float) -> Batch:
        requested: list[tuple[Any, ...]] = []

        def generator(purpose: str, batch: Batch) -> np.random.Generator:
            requested.append((purpose, batch))
            return np.random.default_rng(3)

        run: Any = SimpleNamespace(by_updates=lambda answer: answer(updates), total_updates=100, generator=generator)
        trick = mixup(**values)
        batch, result = make_batch().reordered(np.arange(self.ROWS) % 2), []
        trick.gradient(run, lambda each: result.append(each) or Loss(), batch)  # type: ignore[func-returns-value]
        assert all(purpose == "mixup" and each is batch for purpose, each in requested)
        (one,) = result
        return batch if one is batch else one

    @pytest.mark.parametrize(
        ("updates", "mixed"), [(0, False), (19, False), (20, True), (69, True), (70, False), (99, False)]
    )
    def test_not_in_warmup_and_cooldown(self, updates: int, mixed: bool) -> None:
        assert len(self.calls(updates, warmup=0.2, cooldown=0.3).partners) == mixed

    def test_all_of_training_by_default(self) -> None:
        assert len(self.calls(0).partners) == len(self.calls(99).partners) == 1

    def test_a_fraction_of_the_rows_is_mixed(self) -> None:
        lambdas = self.calls(fraction=0.25).carried[LAMBDA]
        assert 0.18 < float((lambdas != 1.0).float().mean()) < 0.32
        assert not self.calls(fraction=0.0).partners

    def test_partners_are_a_permutation(self) -> None:
        (partners,) = self.calls(alpha=1.0).partners
        assert sorted(partners.ids) == ["long"] * 200 + ["short"] * 200

    @pytest.mark.parametrize("alpha", [0.4, 1.0, 5.0])
    def test_lambda_is_drawn_from_beta(self, alpha: float) -> None:
        lambdas = self.calls(alpha=alpha).carried[LAMBDA]
        assert abs(float(lambdas.mean()) - 0.5) < 0.06
        assert abs(float(lambdas.var()) - 1 / (4 * (2 * alpha + 1))) < 0.02

    def test_one_row_has_nobody_to_be_mixed_with(self) -> None:
        run: Any = SimpleNamespace(by_updates=lambda answer: answer(0), total_updates=10)
        alone = make_batch().reordered(np.array([0]))
        result: list[Batch] = []
        trick = mixup()
        trick.gradient(run, lambda each: result.append(each) or Loss(), alone)  # type: ignore[func-returns-value]
        assert result == [alone]


class Layer(nn.Module):
    """Adds the sum over the tokens that may be seen to every token."""

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return states + (states * mask[..., None]).sum(1, keepdim=True)


class Toy(nn.Module):
    """Token k has the vector (k, 2k, 3k); two layers; what enters the head is the sum over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=2, num_labels=3, is_encoder_decoder=False)
        self.words = nn.Embedding.from_pretrained(torch.arange(10.0)[:, None] * torch.tensor([1.0, 2.0, 3.0]))
        self.stack = nn.ModuleList([Layer(), Layer()])
        self.head = nn.Linear(3, 3)

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        states = self.words(input_ids)
        for layer in self.stack:
            states = layer(states, attention_mask)
        return SimpleNamespace(logits=self.head((states * attention_mask[..., None]).sum(1)))


def run_of(model: nn.Module, **values: Any) -> Any:
    tokenizer = SimpleNamespace(all_special_ids=[0, 5])
    draws = lambda purpose, batch: np.random.default_rng(3)  # noqa: E731
    return SimpleNamespace(
        bare_model=model,
        head=model.head,
        rows_passed=0.0,
        by_updates=lambda answer: answer(0),
        total_updates=1,
        generator=draws,
        tokenizer=tokenizer,
        **values,
    )


class TestLevels:
    """The vectors that enter the head, of (5 6) and (7 8 9 4), worked out by hand in their first number."""

    def pooled(self, batch: Batch, **values: Any) -> tuple[list[float], Batch, float]:
        model, calls = Toy(), []

        def inner(mixed: Batch) -> Outcome:
            calls.append(mixed)
            with pooled_vectors(model.head) as features:
                logits = model(**mixed.inputs).logits
            return Outcome(logits.sum(-1), logits, mixed.targets, features[-1])

        run = run_of(model)
        features = mixup(**values).objective(run, inner, batch).features
        assert not any(each._forward_pre_hooks or each._forward_hooks for each in model.modules())
        assert torch.allclose(features, features[:, :1] * torch.tensor([1.0, 2.0, 3.0]))
        assert len(calls) == 1 and not calls[0].partners
        return features[:, 0].tolist(), calls[0], run.rows_passed

    def carrying(self, *lambdas: float, **carried: Tensor) -> Batch:
        batch = planned(*lambdas)
        return replace(batch, carried={**batch.carried, **carried})

    def test_plain(self) -> None:
        # 5 + 6 = 11 on each, 16 + 17 = 33 on each, 49 + 50; and 28, 140 for the other.
        assert self.pooled(make_batch())[0] == [99.0, 700.0]

    def test_embedding(self) -> None:
        # 3/4 of (5 6) and 1/4 of (7 8 9 4) are (5.5 6.5 2.25 1), times 25 in the sum; half of each (6 7 4.5 2).
        pooled, calls, _ = self.pooled(planned(0.75, 0.5))
        assert pooled == [15.25 * 25, 19.5 * 25]
        assert calls.targets.tolist() == [[0.75, 0.0, 0.25], [0.5, 0.0, 0.5]]

    def test_hidden(self) -> None:
        # Before the second layer each has seen itself alone: (16 17) and (35 36 37 32). Mixed they are (20.75 21.75
        # 9.25 8) and (25.5 26.5 18.5 16), and the second layer sees all four tokens: times 5 in the sum.
        layer = torch.tensor([1, 1])
        pooled, calls, passed = self.pooled(self.carrying(0.75, 0.5, **{LAYER: layer}), level="hidden")
        assert pooled == [59.75 * 5, 86.5 * 5]
        assert calls.targets.tolist() == [[0.75, 0.0, 0.25], [0.5, 0.0, 0.5]]
        assert calls.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
        assert passed == 2  # two rows and their partners through half of the layers

    def test_hidden_before_the_first_layer_is_mixing_word_vectors(self) -> None:
        layer = torch.tensor([0, 0])
        assert self.pooled(self.carrying(0.75, 0.5, **{LAYER: layer}), level="hidden")[0] == [15.25 * 25, 19.5 * 25]

    def test_hidden_alone(self) -> None:
        layer = torch.tensor([1, 1])
        pooled, calls, _ = self.pooled(self.carrying(1.0, 0.5, **{LAYER: layer}), level="hidden")
        assert pooled[0] == 99.0
        assert calls.inputs["attention_mask"][0].tolist() == [1, 1, 0, 0]

    def test_block(self) -> None:
        # The second token of (16 17) is the other's 36, the first two of (35 36 37 32) are 16 17; the row's own length.
        carried = {LAYER: torch.tensor([1, 1]), FROM_PARTNER: torch.tensor([[0, 1, 0, 0], [1, 1, 0, 0]]).bool()}
        pooled, calls, passed = self.pooled(self.carrying(0.5, 0.5, **carried), level="hidden", mask="block")
        assert pooled == [52.0 * 3, 102.0 * 5]
        assert calls.inputs["attention_mask"].tolist() == MASK.tolist()
        assert calls.targets.tolist() == [[0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]
        assert passed == 1

    def test_sentence(self) -> None:
        pooled, calls, passed = self.pooled(planned(0.75, 0.5), level="sentence")
        assert pooled == [0.75 * 99 + 0.25 * 700, 0.5 * 700 + 0.5 * 99]
        assert calls.targets.tolist() == [[0.75, 0.0, 0.25], [0.5, 0.0, 0.5]]
        assert torch.equal(calls.inputs["input_ids"], make_batch().inputs["input_ids"])
        assert passed == 2

    def test_a_partner_gets_its_part_of_the_gradient(self) -> None:
        for level, values in (("sentence", {}), ("hidden", {"depths": [0.5]})):
            model = Toy()
            model.words.weight.requires_grad_()
            trick, run = mixup(level=level, **values), run_of(model)
            batch = self.carrying(0.75, 1.0, **{LAYER: torch.tensor([1, 1])}).take(np.array([0]), 0)
            mixed = trick._sentence if level == "sentence" else trick._hidden
            with mixed(run, batch, *batch.partners):
                model(**batch.inputs).logits.sum().backward()
            assert model.words.weight.grad is not None
            assert model.words.weight.grad.abs().sum(-1).nonzero().flatten().tolist() == [4, 5, 6, 7, 8, 9]


class Weighing(Toy):
    """What enters the head is the sum over the tokens, which count and matter 2, 1, 3 and 4 times."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        times = torch.tensor([2.0, 1.0, 3.0, 4.0])[: input_ids.shape[1]] * attention_mask
        return SimpleNamespace(logits=self.head((self.words(input_ids) * times[..., None]).sum(1)))


class Saturating(Toy):
    """Words have random vectors, and those with large numbers matter less."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(words, 3), nn.Linear(3, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return SimpleNamespace(logits=self.head((self.words(input_ids).tanh() * attention_mask[..., None]).sum(1)))


class LookingUpTwice(Toy):
    """Adds a vector of its word embeddings for the segments, as GPT-2 does."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        states = self.words(input_ids) + self.words(torch.ones_like(input_ids))
        return SimpleNamespace(logits=self.head((states * attention_mask[..., None]).sum(1)))


def test_saliency_is_that_of_the_words_where_segments_have_word_vectors_too() -> None:
    loss = SimpleNamespace(loss=lambda logits, targets: (logits * targets).sum(-1))
    model, twice = Weighing(), LookingUpTwice()
    twice.head.load_state_dict(model.head.state_dict())
    batch = replace(make_batch(), inputs={"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.ones(1, 2)})
    batch = replace(batch, targets=torch.tensor([[1.0, 0.0, 0.0]]))
    once = mixing.saliency(run_of(model, seams=loss), batch)
    # In the first model the two words count twice and once.
    assert mixing.saliency(run_of(twice, seams=loss), batch) == pytest.approx(once / np.array([[2.0, 1.0]]))


class TestWords:
    """The whole way of (1 2 3 4) and (6 7 8 9), of which the first gives two words and the second one."""

    # The noise is (34, -34, -30, 30).
    DRAWS = SimpleNamespace(
        permutation=lambda count: np.array([1, 0]),
        beta=lambda one, other, count: np.array([0.5, 0.75]),
        random=np.zeros,
        integers={3: 1, 4: 2}.__getitem__,
        normal=lambda size: np.array([[0.0, 1, 1], [0, 1, 0]]),
    )

    @pytest.mark.parametrize(
        ("mask", "ids", "pooled"),
        [
            # Two words from the second place on, and one at the third: 2 + 7 + 24 + 16 and 12 + 7 + 9 + 36.
            ("span", [[1, 7, 8, 4], [6, 7, 3, 9]], [49.0, 64.0]),
            # The first and the last, and the first: 12 + 2 + 9 + 36 and 2 + 7 + 24 + 36.
            ("fourier", [[6, 2, 3, 9], [1, 7, 8, 9]], [59.0, 69.0]),
            # The last two for the first two, and the last for the second: 16 + 9 + 9 + 16 and 12 + 4 + 24 + 36.
            ("saliency", [[8, 9, 3, 4], [6, 4, 8, 9]], [50.0, 76.0]),
        ],
    )
    def test_by_hand(self, mask: str, ids: list[list[int]], pooled: list[float]) -> None:
        model, trick, outcomes = Weighing(), mixup(mask=mask), []
        run = run_of(model, seams=SimpleNamespace(loss=lambda logits, targets: (logits * targets).sum(-1)))
        run.generator = lambda purpose, batch: self.DRAWS
        rows = replace(
            make_batch(),
            lengths=torch.tensor([4, 4]),
            targets=torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
            inputs={
                "input_ids": torch.tensor([[1, 2, 3, 4], [6, 7, 8, 9]]),
                "attention_mask": torch.ones(2, 4).long(),
            },
        )

        def inner(mixed: Batch) -> Outcome:
            with pooled_vectors(model.head) as features:
                logits = model(**mixed.inputs).logits
            assert mixed.inputs["input_ids"].tolist() == ids
            return Outcome(logits.sum(-1), logits, mixed.targets, features[-1])

        def gradient(planned: Batch) -> Loss:
            outcomes.append(trick.objective(run, inner, planned))
            return Loss()

        trick.gradient(run, gradient, rows)
        (outcome,) = outcomes
        assert torch.equal(outcome.features, torch.tensor(pooled)[:, None] * torch.tensor([1.0, 2.0, 3.0]))
        assert outcome.targets.tolist() == [[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]]
        assert run.rows_passed == (2 if mask == "saliency" else 0)


class TestPlanned:
    """What `gradient` makes of a batch at each level and mask; tokens 0 and 5 are special."""

    def output(self, run: Any = None, batch: Batch | None = None, **values: Any) -> Batch:
        result: list[Batch] = []
        batch = batch or make_batch().reordered(np.arange(20) % 2)
        trick = mixup(**{"alpha": 1.0, **values})
        trick.gradient(run or run_of(Toy()), lambda each: result.append(each) or Loss(), batch)  # type: ignore
        return result[0]

    def test_the_layer_is_one_of_the_depths(self) -> None:
        layers = {
            tuple(self.output(level="hidden", depths=[depth]).carried[LAYER].tolist()) for depth in (0, 0.49, 0.5)
        }
        assert layers == {(0,) * 20, (1,) * 20}

    def test_all_levels_have_the_same_partners_and_lambdas(self) -> None:
        one, *others = (self.output(level=level) for level in ("embedding", "hidden", "sentence"))
        for other in others:
            assert torch.equal(one.carried[LAMBDA], other.carried[LAMBDA])
            assert [each.ids for each in one.partners] == [each.ids for each in other.partners]

    def test_blocks_are_of_words_that_both_have(self) -> None:
        batch = self.output(level="hidden", mask="block")
        (partners,) = batch.partners
        exchanged, lambdas = batch.carried[FROM_PARTNER], batch.carried[LAMBDA]
        # The short row has one word, at place 1; the long one four, of which place 1 alone is a word in the short one.
        for row in range(20):
            both_long = batch.ids[row] == partners.ids[row] == "long"
            assert both_long or not exchanged[row, [0, 2, 3]].any()
            assert lambdas[row] == 1 - int(exchanged[row].sum()) / (4 if batch.ids[row] == "long" else 1)
        assert exchanged.any()

    @pytest.mark.parametrize("mask", ["span", "fourier", "saliency", "puzzle"])
    def test_words_are_replaced_and_special_tokens_stay(self, mask: str) -> None:
        model = Toy()
        run = run_of(model, seams=SimpleNamespace(loss=lambda logits, targets: (logits * targets).sum(-1)))
        output, plain = self.output(run, mask=mask), make_batch().reordered(np.arange(20) % 2)
        assert not output.partners and not output.carried
        ids, before = output.inputs["input_ids"], plain.inputs["input_ids"]
        assert (ids[before == 5] == 5).all() and (ids[before == 0] == 0).all()
        assert not torch.isin(ids[(before != 5) & (before != 0)], torch.tensor([0, 5])).any()
        remaining = ((ids == before) & (before != 5) & (before != 0)).sum(1) / torch.tensor([1, 4] * 10)
        short = plain.targets[:, 0] == 1
        # A short row's only word is exchanged or not; where it is, the target is the partner's.
        assert torch.equal(output.targets[short, 0] == 1, remaining[short] == 1)
        assert torch.allclose(output.targets.sum(1), torch.ones(20))
        assert (ids != before).any()

    def test_the_target_is_the_fraction_of_the_words(self) -> None:
        # Long rows alone: four words each, all of them unlike their partner's at the same place.
        rows = replace(
            make_batch().reordered(np.array([1, 1])),
            inputs={
                "input_ids": torch.tensor([[6, 7, 8, 9], [1, 2, 3, 4]]),
                "attention_mask": torch.ones(2, 4).long(),
            },
            targets=torch.eye(2),
        )
        for seed in range(20):
            run = run_of(Toy())
            run.generator = lambda purpose, batch, seed=seed: np.random.default_rng(seed)
            for mask in ("span", "fourier"):
                output = self.output(run, rows, mask=mask)
                ids = output.inputs["input_ids"]
                own = torch.stack([(ids[0] > 4).float().mean(), (ids[1] < 5).float().mean()])
                assert torch.allclose(output.targets.diagonal(), own)

    @pytest.mark.parametrize(("mask", "partners"), [("puzzle", 1), ("co", 1), ("co", 2), ("co", 3)])
    def test_by_saliency_the_target_is_the_fraction_of_the_words_of_each_text(self, mask: str, partners: int) -> None:
        """Six rows of 7 words; row r has the words 10 r + 11 to 10 r + 17, and the class r."""
        model = Saturating(words=70, classes=6)
        run = run_of(model, seams=SimpleNamespace(loss=nn.CrossEntropyLoss(reduction="none")))
        ids = 10 * torch.arange(1, 7)[:, None] + torch.arange(1, 8)
        ids[:, 3] = 5  # a special token
        rows = replace(
            make_batch().reordered(np.zeros(6, dtype=int)),
            ids=list("abcdef"),
            inputs={"input_ids": ids, "attention_mask": torch.ones(6, 7).long()},
            lengths=torch.full((6,), 7),
            targets=torch.eye(6),
        )
        most = 0
        for seed in range(10):
            torch.manual_seed(seed)
            nn.init.normal_(model.words.weight)
            run.generator = lambda purpose, batch, seed=seed: np.random.default_rng(seed)
            planned = self.output(run, rows, mask=mask, partners=partners)
            mixed: list[Batch] = []
            mixup(mask=mask).objective(run, lambda each, mixed=mixed: mixed.append(each), planned)  # type: ignore
            words = mixed[0].inputs["input_ids"][:, [0, 1, 2, 4, 5, 6]]
            fractions = nn.functional.one_hot(words // 10 - 1, 6).float().mean(1)
            torch.testing.assert_close(mixed[0].targets, fractions)
            assert (mixed[0].inputs["input_ids"][:, 3] == 5).all()
            assert len(planned.partners) <= (partners if mask == "co" else 0)
            texts = ((fractions > 0) & ~torch.eye(6).bool()).sum(1)
            most = max(most, int(texts.max()))
            # Co-Mixup moves no word, and Puzzle Mix no word twice.
            assert mask == "puzzle" or (words % 10 == torch.tensor([1, 2, 3, 5, 6, 7])).all()
            assert all(len(set(row)) == 6 for row in words.tolist())
        assert most == partners
        assert run.rows_passed == 10 * 6

    @pytest.mark.parametrize(
        ("mask", "function", "names"),
        [
            ("puzzle", "choose_by_pairs", ["smoothness", "prior"]),
            ("co", "choose_jointly", ["alpha", "partners", "smoothness", "prior"]),
        ],
    )
    def test_the_settings_and_the_drawn_rows_reach_the_choice(
        self, mask: str, function: str, names: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[tuple[Any, Any]] = []
        choose = getattr(word_choice, function)

        def record(*arguments: Any, **settings: Any) -> Any:
            calls.append((arguments, settings))
            return choose(*arguments, **settings)

        monkeypatch.setattr(word_choice, function, record)
        run = run_of(Toy(), seams=SimpleNamespace(loss=lambda logits, targets: (logits * targets).sum(-1)))
        values = {"alpha": 0.6, "partners": 2, "smoothness": 0.7, "prior": 0.9}
        self.output(run, mask=mask, fraction=0.5, **values)
        ((arguments, settings),) = calls
        assert settings == {name: values[name] for name in names}
        is_mixed = arguments[3] < 1 if mask == "puzzle" else arguments[3]
        assert is_mixed.tolist() == (np.array(self.drawn(0.6, 0.5)) < 1).tolist() and 0 < is_mixed.sum() < 20

    def drawn(self, alpha: float, fraction: float) -> list[float]:
        """The lambdas of the same batch where words are mixed in one proportion."""
        lambdas: list[float] = self.output(alpha=alpha, fraction=fraction).carried[LAMBDA].tolist()
        return lambdas

    def test_rows_that_are_not_drawn_are_not_mixed_by_any_mask(self) -> None:
        run = run_of(Toy(), seams=SimpleNamespace(loss=lambda logits, targets: (logits * targets).sum(-1)))
        for mask in ("puzzle", "co"):
            batch = make_batch().reordered(np.arange(20) % 2)
            assert self.output(run, batch, mask=mask, fraction=0.0) is batch

    def test_a_model_without_a_list_of_layers_is_refused(self) -> None:
        model = Toy()
        model.config.num_hidden_layers = 3
        with pytest.raises(UserError, match=r"tricks\.mixup\.level=hidden: Toy has no list of 3 layers; use "):
            mixup(level="hidden").prepare(run_of(model))
        mixup(level="hidden", fraction=0.0).prepare(run_of(model))
