"""The choice of words by saliency, against a search through all choices."""

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest

from recipes.toolkit import word_choice
from recipes.toolkit.word_choice import (
    CAP,
    CROWDING,
    MOVING,
    TINY,
    best_labels,
    choose_by_pairs,
    choose_jointly,
    relative_saliency,
    transport,
)


def mask(*rows: str) -> np.ndarray:
    """Whether a token is a word, of rows such as `.xx.x`."""
    return np.array([[token == "x" for token in row] for row in rows])


def changes(labels: Sequence[int]) -> int:
    return sum(one != other for one, other in zip(labels, labels[1:], strict=False))


class TestRelativeSaliency:
    def test_by_hand(self) -> None:
        relative = relative_saliency(mask(".xx.", "xxx."), np.array([[9.0, 1, 3, 9], [1, 2, 3, 9]]))
        assert relative.tolist() == [[-np.inf, 0.5, 1.5, -np.inf], [0.5, 1, 1.5, -np.inf]]

    @pytest.mark.parametrize("saliency", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
    def test_a_text_without_a_usable_mean_counts_all_words_the_same(self, saliency: list[float]) -> None:
        assert relative_saliency(mask("xx"), np.array([saliency])).tolist() == [[1, 1]]

    def test_a_text_without_words_has_none(self) -> None:
        assert (relative_saliency(mask(".."), np.ones((1, 2))) == -np.inf).all()


class TestBestLabels:
    @pytest.mark.parametrize("price", [0.0, 0.3, 1.0, 5.0])
    @pytest.mark.parametrize(("links", "labels"), [(1, 2), (8, 2), (5, 3)])
    def test_no_labeling_of_all_is_better(self, links: int, labels: int, price: float) -> None:
        draws = np.random.default_rng(links)
        gains = draws.normal(size=(20, links, labels))
        gains[..., 1][draws.random((20, links)) < 0.2] = -np.inf
        for chain, path in zip(gains, best_labels(gains, price), strict=True):

            def total(labeling: Sequence[int], chain: np.ndarray = chain) -> float:
                return float(chain[np.arange(links), list(labeling)].sum()) - price * changes(labeling)

            assert total(path.tolist()) == pytest.approx(max(map(total, product(range(labels), repeat=links))))

    def test_a_price_above_all_gains_allows_no_change(self) -> None:
        gains = np.array([[[0.0, 1], [1, 0], [0, 1]]])
        assert best_labels(gains, 0.4).tolist() == [[1, 0, 1]]
        assert best_labels(gains, 0.6).tolist() == [[1, 1, 1]]

    def test_equal_labels_choose_the_first(self) -> None:
        assert best_labels(np.zeros((1, 3, 2)), 0.0).tolist() == [[0, 0, 0]]


class TestChooseByPairs:
    """Two texts; the second tokens are no words, and the second text ends before the first."""

    WORDS = mask(".xxx.xxx.x", ".xxx.xxx..")

    def choose(self, saliency: np.ndarray, lambdas: Any, **values: Any) -> tuple[np.ndarray, np.ndarray]:
        settings = {"smoothness": 0.3, "prior": 0.2, **values}
        return choose_by_pairs(self.WORDS, saliency, np.array([1, 0]), np.array(lambdas), **settings)

    @pytest.mark.parametrize("seed", range(5))
    def test_no_choice_of_all_keeps_more(self, seed: int) -> None:
        draws = np.random.default_rng(seed)
        saliency, lambdas = draws.lognormal(0, 1, self.WORDS.shape), draws.random(2)
        smoothness, prior = float(draws.random()), float(draws.random())
        source, own_fractions = self.choose(saliency, lambdas, smoothness=smoothness, prior=prior)
        for row, other in ((0, 1), (1, 0)):
            own_words, other_words = self.WORDS[row], self.WORDS[other]
            own = saliency[row] / saliency[row][own_words].mean()
            rest = saliency[other] / saliency[other][other_words].mean()
            positions = np.flatnonzero(own_words)

            log_prior = prior * np.log(np.array([lambdas[row], 1 - lambdas[row]]) + TINY)
            gains = np.stack([own, rest], -1)[positions] + log_prior

            def total(labeling: Sequence[int], gains: np.ndarray = gains) -> float:
                return float(gains[np.arange(len(labeling)), list(labeling)].sum()) - smoothness * changes(labeling)

            both = other_words[positions]
            allowed = [each for each in product((0, 1), repeat=len(positions)) if both[np.array(each) == 1].all()]
            labels = (source[row, positions] >= 0).astype(int)
            assert total(labels.tolist()) == pytest.approx(max(map(total, allowed)))
            assert own_fractions[row] == pytest.approx(1 - labels.mean())
            assert (source[row][~own_words] == -1).all()
            arriving = source[row][source[row] >= 0]
            assert other_words[arriving].all() and len(set(arriving)) == len(arriving)

    def test_by_hand(self) -> None:
        # The partner's words matter at the last three positions of both; nothing is near enough to move.
        saliency = np.array([[0, 9, 9, 9, 0, 1, 1, 1, 0, 9], [0, 1, 1, 1, 0, 9, 9, 9, 0, 0]], dtype=float)
        source, own_fractions = self.choose(saliency, [0.5, 1.0])
        assert source[0].tolist() == [-1, -1, -1, -1, -1, 5, 6, 7, -1, -1]
        assert (source[1] == -1).all()
        assert own_fractions.tolist() == [pytest.approx(4 / 7), 1.0]

    def test_lambda_is_a_prior(self) -> None:
        even = np.ones(self.WORDS.shape)
        assert self.choose(even, [0.9, 0.1])[1].tolist() == [1.0, 0.0]
        assert self.choose(even, [0.1, 0.9])[1].tolist() == [pytest.approx(1 / 7), 1.0]

    def test_lambda_one_and_the_row_itself_exchange_nothing(self) -> None:
        saliency = np.random.default_rng(0).lognormal(0, 1, self.WORDS.shape)
        settings = {"smoothness": 0.0, "prior": 0.2}
        for partner, lambdas in (([1, 0], [1.0, 1.0]), ([0, 1], [0.0, 0.0])):
            source, fractions = choose_by_pairs(self.WORDS, saliency, np.array(partner), np.array(lambdas), **settings)
            assert (source == -1).all() and (fractions == 1).all()


class TestTransport:
    def test_no_assignment_of_all_is_better(self) -> None:
        draws = np.random.default_rng(0)
        for _ in range(20):
            relative = draws.lognormal(0, 1, 9)
            relative[[0, 4, 8]] = -np.inf
            words, leaving = np.flatnonzero(np.isfinite(relative)), draws.permutation(9)[:3]

            def total(arriving: Sequence[int], relative: Any = relative, leaving: Any = leaving) -> float:
                squares = ((leaving - np.array(arriving)) / 5) ** 2
                return float(relative[list(arriving)].sum() - MOVING * 6 * squares.sum())

            best = max(map(total, permutations(words.tolist(), 3)))
            assert total(transport(leaving, relative).tolist()) == pytest.approx(best)

    def test_by_hand(self) -> None:
        # Three words: moving by one costs 0.8 * 3 / 4 = 0.6, and by two 2.4.
        assert transport(np.array([1]), np.array([-np.inf, 1.0, 1.7, 1.0])).tolist() == [2]
        assert transport(np.array([1]), np.array([-np.inf, 1.0, 1.5, 3.3])).tolist() == [1]

    def test_one_word(self) -> None:
        assert transport(np.array([3]), np.array([-np.inf, 1.0])).tolist() == [1]


class TestChooseJointly:
    SETTINGS: Any = {"alpha": 2.0, "partners": 3, "smoothness": 0.3, "prior": 0.05}

    def batch(self, rows: int, tokens: int, seed: int = 0) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
        """Texts of 1 to `tokens` words after a first token that is none."""
        draws = np.random.default_rng(seed)
        words = np.arange(tokens + 1) <= draws.integers(1, tokens + 1, (rows, 1))
        words[:, 0] = False
        return draws, words, draws.lognormal(0, 1, words.shape)

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize(("cap", "crowding"), [(CAP, CROWDING), (0.1, 2.0)], ids=["as it is", "at every text"])
    def test_the_last_row_has_the_best_of_all_choices_next_to_the_others(
        self, cap: float, crowding: float, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(word_choice, "CAP", cap)
        monkeypatch.setattr(word_choice, "CROWDING", crowding)
        _, words, saliency = self.batch(4, 5, seed)
        draws, again = np.random.default_rng(seed), np.random.default_rng(seed)
        texts = choose_jointly(draws, words, saliency, np.ones(4, dtype=bool), **self.SETTINGS)
        probabilities, row = again.dirichlet([2.0] * 4), int(again.permutation(4)[-1])
        crowd = np.zeros(4)
        for other in range(4):
            for text in texts[other][words[other]]:
                crowd[text] += (other != row) / words[other].sum()
        positions = np.flatnonzero(words[row])

        def total(choice: Sequence[int]) -> float:
            sums = -0.3 * changes(choice)
            for position, text in zip(positions, choice, strict=True):
                if not words[text, position]:
                    return -np.inf
                sums += saliency[text, position] / saliency[text][words[text]].mean()
                sums += 0.05 * np.log(probabilities[text]) - (crowding * crowd[text] if crowd[text] > cap else 0)
            return sums

        best = max(map(total, product(range(4), repeat=len(positions))))
        assert total(texts[row][positions].tolist()) == pytest.approx(best, abs=1e-4)

    @pytest.mark.parametrize("partners", [1, 2, 3])
    def test_a_row_has_no_more_partners_than_allowed(self, partners: int) -> None:
        draws, words, saliency = self.batch(16, 20)
        texts = choose_jointly(
            draws, words, saliency, np.ones(16, dtype=bool), **{**self.SETTINGS, "partners": partners}
        )
        counts = [len({*texts[row].tolist()} - {row}) for row in range(16)]
        assert max(counts) == partners

    def test_the_partners_that_stay_are_those_of_the_most_words(self) -> None:
        # Alone, the words would come from the texts 1, 3, 3 and 2.
        gains = np.zeros((4, 4))
        gains[[0, 3], 0] = 1.0
        gains[[0, 1, 2, 3], [1, 3, 3, 2]] = 5.0
        assert word_choice._best_texts(gains, 0, 3, 0.1).tolist() == [1, 3, 3, 2]
        assert word_choice._best_texts(gains, 0, 1, 0.1).tolist() == [0, 3, 3, 0]

    def test_each_row_chooses_three_times(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows: list[int] = []
        choose = word_choice._best_texts

        def count(gains: np.ndarray, row: int, partners: int, price: float) -> np.ndarray:
            rows.append(row)
            return choose(gains, row, partners, price)

        monkeypatch.setattr(word_choice, "_best_texts", count)
        draws, words, saliency = self.batch(5, 6)
        choose_jointly(draws, words, saliency, np.arange(5) != 2, **self.SETTINGS)
        assert rows == rows[:4] * 3 and sorted(rows[:4]) == [0, 1, 3, 4]

    def test_words_stay_at_their_positions(self) -> None:
        draws, words, saliency = self.batch(16, 20)
        texts = choose_jointly(draws, words, saliency, np.ones(16, dtype=bool), **self.SETTINGS)
        for row in range(16):
            assert (texts[row][~words[row]] == row).all()
            assert all(words[texts[row, position], position] for position in np.flatnonzero(words[row]))

    def test_rows_that_are_not_mixed_keep_their_text_and_count_as_used(self) -> None:
        draws, words, saliency = self.batch(6, 10)
        words[:, 1:] = True
        saliency[0] = 100 + saliency[0]  # even, like none of the others
        is_mixed = np.arange(6) >= 3
        texts = choose_jointly(draws, words, saliency, is_mixed, **self.SETTINGS)
        assert all((texts[row] == row).all() for row in range(3))
        # Each of the first three is used up by its own row, so the others mix among themselves.
        assert set(texts[3:, 1:].ravel().tolist()) == {3, 4, 5}

    def test_mixtures_differ_even_if_one_text_matters_most_everywhere(self) -> None:
        draws, words, saliency = self.batch(8, 12)
        words[:, 1:] = True
        settings = {**self.SETTINGS, "prior": 5.0}  # the drawn probabilities decide, which are the same for all rows
        texts = choose_jointly(draws, words, saliency, np.ones(8, dtype=bool), **settings)
        usage = [(texts[:, 1:] == text).mean(1).sum() for text in range(8)]
        assert max(usage) < CAP + 1

    def test_a_text_without_words_and_a_batch_of_one(self) -> None:
        draws, words, saliency = self.batch(3, 5)
        words[1] = False
        texts = choose_jointly(draws, words, saliency, np.ones(3, dtype=bool), **self.SETTINGS)
        assert (texts[1] == 1).all() and 1 not in texts[[0, 2]]
        alone = choose_jointly(draws, words[:1], saliency[:1], np.ones(1, dtype=bool), **self.SETTINGS)
        assert (alone == 0).all()
