"""The arithmetic of mixing: which words give way to which, worked out by hand with draws that are given."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recipes.data.batch import Batch
from recipes.toolkit.mixing import (
    TEXT,
    Text,
    block,
    carry_texts,
    choose_tokens,
    exchange_tokens,
    fourier,
    saliency,
    salient,
    slow_noise,
    span,
    take_words,
)


def given(**draws: Any) -> Any:
    """A generator whose draws are given, each with the bound that it must be asked for."""

    def sample(bound: int, value: Any) -> Any:
        return lambda requested: value if requested == bound else pytest.fail(f"asked for {requested}, not {bound}")

    methods = {name: sample(*draw) for name, draw in draws.items() if name != "normal"}
    return SimpleNamespace(**methods, normal=lambda size: np.array(draws["normal"]).reshape(size))


def text(*indices: int, saliency: tuple[float, ...] = (0,) * 8) -> Text:
    return Text(np.array(indices, dtype=int), np.array(saliency, dtype=float))


def lists(result: tuple[np.ndarray, np.ndarray]) -> tuple[list[int], list[int]]:
    return result[0].tolist(), result[1].tolist()


class TestSpan:
    def test_a_run_of_the_positions_that_both_have(self) -> None:
        # Both have words at 1, 2 and 4; two of these three begin at the first or the second.
        assert lists(span(given(integers=(2, 1)), text(1, 2, 4, 5), text(1, 2, 3, 4), 2)) == ([2, 4], [2, 4])
        assert lists(span(given(integers=(2, 0)), text(1, 2, 4, 5), text(1, 2, 3, 4), 2)) == ([1, 2], [1, 2])

    def test_no_more_than_both_have(self) -> None:
        assert lists(span(given(integers=(1, 0)), text(1, 2, 3), text(1), 3)) == ([1], [1])
        assert lists(span(given(integers=(1, 0)), text(1, 3), text(2, 4), 1)) == ([], [])


class TestFourier:
    def test_noise_by_hand(self) -> None:
        # Four tokens hold waves of frequency 0, 1/4 and 1/2; they weigh 64, 64 (0 counts as 1/4) and 8.
        assert slow_noise(given(normal=[1, 0, 0, 0, 0, 0]), 4).tolist() == [16, 16, 16, 16]
        assert np.allclose(slow_noise(given(normal=[0, 1, 0, 0, 0, 0]), 4), [32, 0, -32, 0])
        assert np.allclose(slow_noise(given(normal=[0, 0, 0, 0, 1, 0]), 4), [0, -32, 0, 32])
        assert np.allclose(slow_noise(given(normal=[0, 0, 1, 0, 0, 0]), 4), [2, -2, 2, -2])

    def test_where_the_noise_is_highest(self) -> None:
        # The noise is 16 * (1, 1, 1, 1) + (0, -32, 0, 32).
        draws = given(normal=[1, 0, 0, 0, 1, 0])
        assert lists(fourier(draws, text(1, 2, 3), text(1, 2, 3), 2)) == ([2, 3], [2, 3])
        assert lists(fourier(draws, text(1, 2, 3), text(1, 2, 3), 1)) == ([3], [3])
        assert lists(fourier(draws, text(1, 3), text(1, 2), 2)) == ([1], [1])

    def test_noise_is_slow(self) -> None:
        draws = np.random.default_rng(0)
        runs = [np.count_nonzero(np.diff(slow_noise(draws, 64) > 0)) for _ in range(50)]
        white = [np.count_nonzero(np.diff(draws.normal(size=64) > 0)) for _ in range(50)]
        assert np.mean(runs) < 4 < 25 < np.mean(white)


class TestBlock:
    def test_full_blocks_until_there_are_enough(self) -> None:
        # Blocks of two, shifted by one: (0) (1 2) (3 4) (5 6), ranked 2 0 3 1; so 3 and 4 go first, then 0, then 5.
        draws = given(integers=(2, 1), permutation=(4, np.array([2, 0, 3, 1])))
        words = text(1, 2, 3, 4, 5, 6)
        assert lists(block(draws, words, words, 2, size=2)) == ([3, 4], [3, 4])
        assert lists(block(draws, words, words, 3, size=2)) == ([3, 4, 5], [3, 4, 5])
        assert lists(block(draws, words, text(1, 2, 4), 3, size=2)) == ([1, 2, 4], [1, 2, 4])


class TestSalient:
    OWN = (9, 1, 5, 2, 9, 0, 0, 0)
    OTHER = (9, 1, 3, 4, 9, 0, 0, 0)

    def test_what_matters_most_for_what_matters_least(self) -> None:
        # Runs of two: 1 + 5 < 5 + 2 in the row, 1 + 3 < 3 + 4 in the partner.
        own, other = text(1, 2, 3, saliency=self.OWN), text(1, 2, 3, saliency=self.OTHER)
        assert lists(salient(given(), own, other, 2)) == ([1, 2], [2, 3])
        assert lists(salient(given(), own, other, 1)) == ([1], [3])
        assert lists(salient(given(), own, other, 3)) == ([1, 2, 3], [1, 2, 3])

    def test_no_more_than_the_partner_has(self) -> None:
        own, other = text(1, 2, 3, saliency=self.OWN), text(2, saliency=self.OTHER)
        assert lists(salient(given(), own, other, 3)) == ([1], [2])

    def test_special_tokens_count_for_nothing(self) -> None:
        own, other = text(1, 3, saliency=(0, 4, 9, 1, 0)), text(1, 3, saliency=(9, 1, 9, 4, 9))
        assert lists(salient(given(), own, other, 1)) == ([3], [3])


class TestChooseTokens:
    def test_the_fraction_counts_the_words_that_remain(self) -> None:
        def first(draws: Any, own: Text, other: Text, count: int) -> tuple[np.ndarray, np.ndarray]:
            count = min(count, len(other.positions))
            return own.positions[:count], other.positions[-count:]

        texts = [text(1, 2, 3, 4), text(1), text(1, 2, 3, 4), text()]
        source, remaining = choose_tokens(first, given(), texts, np.array([2, 0, 1, 0]), np.array([0.4, 0.3, 0.5, 0.5]))
        # 0.6 of four words are two; 0.7 of one is one; of two wanted the partner has one; nothing of nothing.
        assert source.tolist() == [
            [-1, 3, 4, -1, -1, -1, -1, -1],
            [-1, 4, -1, -1, -1, -1, -1, -1],
            [-1, 1, -1, -1, -1, -1, -1, -1],
            [-1] * 8,
        ]
        assert remaining.tolist() == [0.5, 0.0, 0.75, 1.0]

    def test_lambda_one_a_partner_without_words_and_the_row_itself_exchange_nothing(self) -> None:
        texts = [text(1, 2), text()]
        for partner, lambdas in (([1, 0], [1.0, 1.0]), ([1, 0], [0.0, 0.0]), ([0, 1], [0.5, 0.5])):
            source, remaining = choose_tokens(salient, given(), texts, np.array(partner), np.array(lambdas))
            assert (source == -1).all() and (remaining == 1.0).all()


class TestExchanged:
    def batch(self) -> Batch:
        return Batch(
            ids=["short", "long"],
            inputs={
                "input_ids": torch.tensor([[2, 5, 3, 0], [2, 7, 8, 3]]),
                "token_type_ids": torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1]]),
                "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]),
            },
            lengths=torch.tensor([3, 4]),
            targets=torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
            weights=torch.ones(2),
            total=2.0,
            epoch=1,
            index=2,
        )

    def test_by_hand(self) -> None:
        source = np.array([[-1, 2, -1, -1], [-1, -1, 1, -1]])
        batch = self.batch()
        output = exchange_tokens(batch, np.array([1, 0]), source, np.array([0.0, 0.5]))
        assert output.inputs["input_ids"].tolist() == [[2, 8, 3, 0], [2, 7, 5, 3]]
        assert output.targets.tolist() == [[0, 0, 1], [0.5, 0, 0.5]]
        for name in ("token_type_ids", "attention_mask"):
            assert torch.equal(output.inputs[name], batch.inputs[name])
        assert output.lengths.tolist() == [3, 4]
        assert output.partners == ()
        assert batch.inputs["input_ids"].tolist() == self.batch().inputs["input_ids"].tolist()

    def test_a_row_that_keeps_all_is_as_it_was(self) -> None:
        batch = self.batch()
        output = exchange_tokens(batch, np.array([1, 0]), np.full((2, 4), -1), np.ones(2))
        assert torch.equal(output.inputs["input_ids"], batch.inputs["input_ids"])
        assert torch.equal(output.targets, batch.targets)


class TestTexts:
    """Three rows; the first token of each is no word, nor is the last of the second row."""

    WORDS = np.array([[False, True, True, True], [False, True, True, False], [False, True, True, True]])
    # The first row has a word of each, the second keeps its words, the third has none of its own.
    TEXTS = np.array([[0, 2, 0, 1], [1, 1, 1, 1], [2, 0, 1, 0]])

    def batch(self) -> Batch:
        ids = torch.tensor([[2, 10, 11, 12], [2, 20, 21, 3], [2, 30, 31, 32]])
        return Batch(
            ids=["a", "b", "c"],
            inputs={"input_ids": ids, "attention_mask": torch.ones_like(ids)},
            lengths=torch.tensor([4, 4, 4]),
            targets=torch.eye(3),
            weights=torch.ones(3),
            total=3.0,
            epoch=1,
            index=2,
            carried={"other": torch.ones(3)},
        )

    def test_a_row_carries_the_texts_that_its_words_come_from(self) -> None:
        batch = carry_texts(self.batch(), self.WORDS, self.TEXTS)
        assert [each.ids for each in batch.partners] == [["b", "b", "a"], ["c", "b", "b"]]
        assert batch.carried[TEXT].tolist() == [[0, 3, 1, 2], [0, 1, 1, 0], [0, 2, 3, 2]]
        assert set(batch.carried) == {"other", TEXT}
        assert torch.equal(batch.inputs["input_ids"], self.batch().inputs["input_ids"])

    def test_words_and_targets_by_hand(self) -> None:
        batch = take_words(carry_texts(self.batch(), self.WORDS, self.TEXTS))
        assert batch.inputs["input_ids"].tolist() == [[2, 30, 11, 3], [2, 20, 21, 3], [2, 10, 21, 12]]
        expected = torch.tensor([[1, 1, 1], [0, 3, 0], [2, 1, 0]]) / 3
        torch.testing.assert_close(batch.targets, expected)
        assert torch.equal(batch.targets[1], self.batch().targets[1]) and batch.partners == ()

    def test_the_probabilities_of_a_teacher_are_mixed_like_the_targets(self) -> None:
        batch = replace(self.batch(), teacher=self.batch().targets)
        mixed = take_words(carry_texts(batch, self.WORDS, self.TEXTS))
        assert mixed.teacher is not None and torch.equal(mixed.teacher, mixed.targets)

    def test_answers_of_a_teacher_are_mixed_like_targets(self) -> None:
        taught = replace(self.batch(), teacher=torch.eye(3))
        batch = take_words(carry_texts(taught, self.WORDS, self.TEXTS))
        assert batch.teacher is not None and torch.equal(batch.teacher, batch.targets)

    def test_a_part_of_one_row_is_mixed_alone(self) -> None:
        batch = carry_texts(self.batch(), self.WORDS, self.TEXTS)
        mixed = take_words(batch)
        for row in range(3):
            part = take_words(batch.take(np.array([row]), row))
            assert torch.equal(part.inputs["input_ids"][0], mixed.inputs["input_ids"][row])
            assert torch.equal(part.targets[0], mixed.targets[row])

    def test_a_row_without_words_keeps_its_target(self) -> None:
        words = self.WORDS & np.array([[False], [True], [True]])
        texts = np.array([[0, 0, 0, 0], [1, 1, 2, 1], [2, 2, 2, 2]])
        batch = take_words(carry_texts(self.batch(), words, texts))
        assert batch.targets.tolist() == [[1, 0, 0], [0, 0.5, 0.5], [0, 0, 1]]

    def test_without_exchange_there_are_no_partners(self) -> None:
        own = np.repeat(np.arange(3)[:, None], 4, 1)
        batch = carry_texts(self.batch(), self.WORDS, own)
        assert batch.partners == ()
        assert torch.equal(take_words(batch).targets, torch.eye(3))


class Scorer(nn.Module):
    """Token t counts t + 1 times; class 0 looks along (3, 4, 0), class 1 along (0, 0, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 3)
        self.dropout = nn.Dropout(0.9)
        self.config = SimpleNamespace(is_encoder_decoder=False)

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        times = (1 + torch.arange(input_ids.shape[1])) * attention_mask
        vectors = (self.dropout(self.words(input_ids)) * times[..., None]).sum(1)
        return SimpleNamespace(logits=vectors @ torch.tensor([[3.0, 0], [4, 0], [0, 2]]))


def test_saliency_by_hand() -> None:
    model = Scorer().train()
    seams = SimpleNamespace(loss=lambda logits, targets: -(logits * targets).sum(-1))
    run: Any = SimpleNamespace(bare_model=model, seams=seams, rows_passed=0.0)
    batch = Batch(
        ids=["short", "long"],
        inputs={
            "input_ids": torch.tensor([[1, 2, 0], [3, 4, 5]]),
            "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
        },
        lengths=torch.tensor([2, 3]),
        targets=torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        weights=torch.ones(2),
        total=2.0,
        epoch=0,
        index=0,
    )
    assert saliency(run, batch).tolist() == [[5, 10, 0], [2, 4, 6]]
    assert run.rows_passed == 2
    assert model.words.weight.grad is None and not model.words._forward_hooks
    assert model.training and model.dropout.training
