"""Batches of similar length that are fair to every label, and their parts."""

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import pytest

from recipes.data.batching import (
    MAX_VARIANCE_RATIO,
    POOL,
    Batches,
    by_cost,
    by_length,
    cut_by_length,
    group,
    label_variance,
    length_goes_with_label,
    padding_waste,
    weight_of_label,
)
from recipes.data.encoding import Encoded
from recipes.runtime.randomness import generator


def lengths_of(count: int, seed: int = 0) -> np.ndarray:
    """Tokens of texts: most of them short, some long."""
    return np.clip(np.exp(np.random.default_rng(seed).normal(3, 0.6, count)).astype(int), 4, 128)


def grouped(lengths: np.ndarray, labels: np.ndarray, batch_size: int, random: np.random.Generator) -> list[np.ndarray]:
    return group(lengths, labels, batch_size, weight_of_label(lengths, labels, batch_size), random)


def random_plan(count: int, batch_size: int, seed: int) -> list[np.ndarray]:
    order = np.random.default_rng(seed).permutation(count)
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(labels.max() + 1)[labels]


class TestGroup:
    @pytest.mark.parametrize(("rows", "batch_size"), [(1, 8), (7, 8), (8, 8), (9, 8), (403, 4), (3333, 16), (50, 1)])
    @pytest.mark.parametrize("multi_label", [False, True])
    def test_groups_every_row_once_and_only_the_last_batch_is_smaller(
        self, rows: int, batch_size: int, multi_label: bool
    ) -> None:
        random = np.random.default_rng(0)
        labels = random.integers(2, size=(rows, 3), dtype=np.int8) if multi_label else random.integers(3, size=rows)
        plan = grouped(lengths_of(rows), labels, batch_size, np.random.default_rng(1))
        assert sorted(np.concatenate(plan).tolist()) == list(range(rows))
        assert [len(batch) for batch in plan[:-1]] == [batch_size] * (len(plan) - 1)
        assert len(plan) == -(-rows // batch_size)

    def test_is_a_function_of_seed_and_epoch(self) -> None:
        lengths, labels = lengths_of(500), np.arange(500) % 3

        def plan(seed: int, epoch: int) -> list[list[int]]:
            return [rows.tolist() for rows in grouped(lengths, labels, 16, generator(seed, "order", epoch))]

        assert plan(0, 0) == plan(0, 0)
        assert plan(0, 0) != plan(0, 1)
        assert plan(0, 0) != plan(1, 0)
        # Not the same batches in another order either.
        assert not {tuple(sorted(rows)) for rows in plan(0, 0)} & {tuple(sorted(rows)) for rows in plan(0, 1)}

    @pytest.mark.parametrize("related", [False, True])
    def test_rows_of_a_small_data_set_meet_other_rows_every_epoch(self, related: bool) -> None:
        lengths = np.arange(1000) + 10  # all different: without rotation the batches would be the same in each epoch
        labels = (lengths > 500).astype(int) if related else np.arange(1000) % 2
        batch_of = np.empty((8, 1000), int)
        for epoch in range(8):
            for number, rows in enumerate(grouped(lengths, labels, 32, np.random.default_rng(epoch))):
                batch_of[epoch, rows] = number
        together = batch_of[:, :, None] == batch_of[:, None]
        again = [((one & other).sum() - 1000) / (one.sum() - 1000) for one, other in pairwise(together)]
        assert np.mean(again) <= 0.75

    def test_the_smaller_batch_is_not_always_the_longest_rows(self) -> None:
        lengths, labels = np.arange(100) + 4, np.arange(100) % 2
        smaller = [grouped(lengths, labels, 32, np.random.default_rng(seed))[-1] for seed in range(200)]
        assert {len(rows) for rows in smaller} == {4}
        assert 0.35 < np.mean([rows.mean() for rows in smaller]) / 100 < 0.65
        assert len(set(np.concatenate(smaller).tolist())) > 80

    def test_order_of_the_batches_is_not_by_length(self) -> None:
        lengths, labels = lengths_of(1600), np.zeros(1600, int)
        plan = grouped(lengths, labels, 16, np.random.default_rng(0))
        means = np.array([lengths[rows].mean() for rows in plan])
        assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3

    def test_rows_of_one_batch_have_similar_lengths(self) -> None:
        lengths, labels = lengths_of(3200), np.random.default_rng(3).integers(4, size=3200)
        plan = grouped(lengths, labels, 32, np.random.default_rng(0))
        assert padding_waste(lengths, random_plan(3200, 32, 0)) > 2.0
        assert (
            padding_waste(lengths, [rows[part] for rows in plan for part in cut_by_length(lengths[rows], 128)]) < 1.03
        )


class TestWeightOfLabel:
    def test_is_zero_without_a_relation_and_grows_with_it(self) -> None:
        random, count = np.random.default_rng(0), 12_800
        lengths = random.permutation(count) + 4
        weights = []
        for fraction in (0.0, 0.3, 0.6, 1.0):
            related = random.random(count) < fraction
            labels = np.where(related, lengths > count / 2, random.random(count) < 0.5).astype(int)
            weights.append(weight_of_label(lengths, labels, 32))
        assert weights[0] == 0
        assert weights == sorted(weights)
        assert 0.1 < weights[1] < weights[3] <= 1

    def test_finds_relations_that_a_correlation_misses(self) -> None:
        lengths = np.arange(3200) + 4
        labels = (abs(lengths - lengths.mean()) < 800).astype(int)  # rows of medium length
        assert length_goes_with_label(lengths, labels) < 0.01
        assert weight_of_label(lengths, labels, 32) > 0.5
        assert weight_of_label(lengths, one_hot(labels), 32) == weight_of_label(lengths, labels, 32)

    @pytest.mark.parametrize("rows", [1, 2, 9, 30])
    def test_few_rows_and_one_label(self, rows: int) -> None:
        assert weight_of_label(np.arange(rows) + 4, np.zeros(rows, int), 8) == 0
        assert 0 <= weight_of_label(np.arange(rows) + 4, np.arange(rows) % 2, 8) <= 1

    def test_label_variance_by_hand(self) -> None:
        labels = np.array([0, 0, 1, 1, 0, 1])
        separated, mixed = [np.array([0, 1]), np.array([2, 3])], [np.array([0, 2]), np.array([1, 3]), np.array([5])]
        # The fractions of label 0 are 1 and 0: variance 0.25. Two random rows have 0.5 * 0.5 / 2.
        assert label_variance(labels, separated) == 0.25 / 0.125
        assert label_variance(labels, mixed) == 0
        assert label_variance(one_hot(labels), separated) == 2
        assert label_variance(np.zeros(6, int), separated) == 0
        # Label 1 has fractions 0.5 and 0: variance 1/16. One row has 3/16, and the mean of two random rows half of it.
        label_sets = np.array([[1, 1], [1, 0], [1, 0], [1, 0]])
        assert label_variance(label_sets, [np.array([0, 1]), np.array([2, 3])]) == pytest.approx(
            (1 / 16) / (3 / 16 / 2)
        )


class TestFairness:
    """The fraction of a label varies between batches at most as much as at random."""

    ROWS, BATCH = 32 * POOL, 32

    def check(self, lengths: np.ndarray, labels: np.ndarray, least: float) -> None:
        """Batches are fair, although sorting by length alone gives a ratio above `least`."""
        plans = [grouped(lengths, labels, self.BATCH, np.random.default_rng(seed)) for seed in range(6)]
        assert np.mean([label_variance(labels, plan) for plan in plans]) <= 1.15 * MAX_VARIANCE_RATIO
        by_length_only = group(lengths, labels, self.BATCH, 0.0, np.random.default_rng(0))
        assert label_variance(labels, by_length_only) > least

    @pytest.mark.parametrize("fraction", [0.5, 0.13, 0.02])
    def test_length_independent_of_the_label(self, fraction: float) -> None:
        labels = (np.random.default_rng(0).random(self.ROWS) < fraction).astype(int)
        self.check(lengths_of(self.ROWS), labels, 0.5)

    @pytest.mark.parametrize("fraction", [0.5, 0.13, 0.02])
    def test_length_decides_the_label(self, fraction: float) -> None:
        lengths = np.random.default_rng(1).permutation(self.ROWS) + 4
        labels = (lengths > np.quantile(lengths, 1 - fraction)).astype(int)
        assert length_goes_with_label(lengths, labels) > 0.2
        self.check(lengths, labels, 5)

    def test_many_labels_of_different_sizes(self) -> None:
        random = np.random.default_rng(2)
        labels = np.minimum(random.geometric(0.15, self.ROWS) - 1, 20)
        self.check(10 * labels + random.integers(4, 12, self.ROWS), labels, 5)

    def test_multi_label_rows(self) -> None:
        random = np.random.default_rng(4)
        labels = (random.random((self.ROWS, 4)) < [0.5, 0.3, 0.2, 0.1]).astype(np.int8)
        self.check(4 + labels @ [3, 20, 7, 40] + random.integers(3, size=self.ROWS), labels, 5)

    def test_label_sets_that_are_all_different(self) -> None:
        random = np.random.default_rng(5)
        labels = (random.random((self.ROWS, 20)) < 0.3).astype(np.int8)
        self.check(4 + 5 * labels.sum(1), labels, 5)


class TestBatches:
    class Dataset:
        def collate(self, rows: np.ndarray, epoch: int, index: int) -> tuple[list[int], int, int]:
            return rows.tolist(), epoch, index

    def test_collates_on_access_with_epoch_and_index(self) -> None:
        dataset: Encoded = self.Dataset()  # type: ignore[assignment]
        batches = Batches(dataset, [np.array([3, 1]), np.array([0, 2]), np.array([4])], 7)
        assert len(batches) == 3
        assert batches[1] == ([0, 2], 7, 1)
        assert list(batches) == [([3, 1], 7, 0), ([0, 2], 7, 1), ([4], 7, 2)]
        assert list(batches.since(2)) == [([4], 7, 2)]
        assert list(batches.since(3)) == []


def test_by_length_runs_the_longest_first() -> None:
    plan = by_length(np.array([3, 9, 4, 9, 1]), np.ones(5, int), 2)
    assert [rows.tolist() for rows in plan] == [[1, 3], [2, 0], [4]]
    assert by_length(np.zeros(0, int), np.zeros(0, int), 2) == []


def test_by_length_counts_windows() -> None:
    lengths, counts = np.array([10, 70, 30, 20, 11, 9]), np.array([1, 7, 3, 2, 1, 1])
    # Longest first, the rows begin at windows 0, 7, 10, 12, 13, 14; those in the same four go together.
    assert [rows.tolist() for rows in by_length(lengths, counts, 4)] == [[1], [2], [3], [4, 0, 5]]
    assert [rows.tolist() for rows in by_length(lengths, counts, 100)] == [[1, 2, 3, 4, 0, 5]]


def cost(lengths: np.ndarray, plan: Sequence[np.ndarray], cost_of_pass: float) -> float:
    return sum(cost_of_pass + len(rows) * int(lengths[rows].max()) for rows in plan)


@pytest.mark.parametrize("cost_of_pass", [0, 3, 20, 1000])
def test_batches_for_prediction_cost_least(cost_of_pass: float) -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 40)
    plan = by_cost(lengths, np.ones(40, int), 10**6, cost_of_pass)
    assert sorted(np.concatenate(plan).tolist()) == list(range(40))
    assert cost(lengths, plan, cost_of_pass) == cost(lengths, cut_by_length(lengths, cost_of_pass), cost_of_pass)
    assert lengths[plan[0]].max() == lengths.max()


def test_batches_for_prediction_have_a_limit_of_tokens() -> None:
    lengths, counts = np.array([3, 9, 4, 9, 1, 9]), np.ones(6, int)
    assert [rows.tolist() for rows in by_cost(lengths, counts, 18, 0)] == [[1, 3], [5], [2], [0], [4]]
    assert [rows.tolist() for rows in by_cost(lengths, counts, 18, 100)] == [[1, 3], [5, 2], [0, 4]]
    assert [rows.tolist() for rows in by_cost(lengths, counts, 5, 0)] == [[1], [3], [5], [2], [0], [4]]
    # Three windows of 10 tokens, and one of 9.
    assert [rows.tolist() for rows in by_cost(np.array([9, 30]), np.array([1, 3]), 40, 100)] == [[1, 0]]
    assert [rows.tolist() for rows in by_cost(np.array([9, 30]), np.array([1, 3]), 39, 100)] == [[1], [0]]
    assert by_cost(np.zeros(0, int), np.zeros(0, int), 2, 5) == []


def test_padding_waste_by_hand() -> None:
    lengths = np.array([2, 4, 6])
    assert padding_waste(lengths, [np.array([0, 1, 2])]) == 18 / 12
    assert padding_waste(lengths, [np.array([0, 1]), np.array([2])]) == 14 / 12
    assert padding_waste(lengths, [np.array([row]) for row in range(3)]) == 1.0


def test_parts_save_the_padding_of_fair_batches() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(3200) < 0.13).astype(int)
    lengths = np.where(labels == 1, 60, 12) + random.integers(4, size=3200)
    plan = grouped(lengths, labels, 32, np.random.default_rng(0))
    assert padding_waste(lengths, plan) > 1.5
    parts = [batch[rows] for batch in plan for rows in cut_by_length(lengths[batch], 128)]
    assert padding_waste(lengths, parts) < 1.1
    assert len(parts) <= 2 * len(plan)


class TestLengthGoesWithLabel:
    def test_by_hand(self) -> None:
        # Means 2 and 6 around 4: sum of squares between 4 * 4 = 16, within 4 * 1 = 4.
        lengths, labels = np.array([1, 3, 5, 7]), np.array([0, 0, 1, 1])
        assert length_goes_with_label(lengths, labels) == pytest.approx((16 / 20) ** 0.5)

    def test_is_the_correlation_for_two_classes(self) -> None:
        lengths, labels = lengths_of(300), np.random.default_rng(1).integers(2, size=300)
        assert length_goes_with_label(lengths, labels) == pytest.approx(abs(np.corrcoef(lengths, labels)[0, 1]))

    def test_constant_lengths_and_unseen_labels(self) -> None:
        assert length_goes_with_label(np.full(5, 9), np.arange(5)) == 0.0
        assert length_goes_with_label(np.array([1, 3, 5, 7]), np.array([-1, -1, 1, 1])) == pytest.approx(0.8**0.5)

    def test_multi_label_is_the_label_with_the_largest_ratio(self) -> None:
        labels = np.array([[0, 1, 1], [0, 0, 1], [1, 1, 1], [1, 0, 1]])
        assert length_goes_with_label(np.array([1, 3, 5, 7]), labels) == pytest.approx(0.8**0.5)


class TestCutByLength:
    @staticmethod
    def cost(lengths: np.ndarray, parts: list[np.ndarray], cost_of_pass: int) -> int:
        return sum(len(rows) * int(lengths[rows].max()) + cost_of_pass for rows in parts)

    def best(self, lengths: np.ndarray, cost_of_pass: int) -> int:
        """The least cost over all ways to cut the sorted rows."""
        order = np.argsort(lengths)
        ways = [cuts for count in range(len(lengths)) for cuts in combinations(range(1, len(lengths)), count)]
        return min(self.cost(lengths, np.split(order, cuts), cost_of_pass) for cuts in ways)

    @pytest.mark.parametrize("cost_of_pass", [0, 3, 10, 40, 128])
    @pytest.mark.parametrize("seed", range(12))
    def test_is_the_optimum_over_all_cuts(self, cost_of_pass: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        lengths = random.integers(1, 30, size=random.integers(1, 9))
        parts = cut_by_length(lengths, cost_of_pass)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
        assert self.cost(lengths, parts, cost_of_pass) == self.best(lengths, cost_of_pass)

    def test_no_other_grouping_is_cheaper_than_the_best_cut(self) -> None:
        lengths = np.array([3, 11, 4, 10, 21])

        def partitions(rows: list[int]) -> list[list[list[int]]]:
            if not rows:
                return [[]]
            ways = []
            for rest in partitions(rows[1:]):
                ways.append([[rows[0]], *rest])
                ways += [[*rest[:at], [rows[0], *rest[at]], *rest[at + 1 :]] for at in range(len(rest))]
            return ways

        ways = partitions(list(range(5)))
        assert len(ways) == 52
        least = min(self.cost(lengths, [np.array(rows) for rows in way], 5) for way in ways)
        assert self.cost(lengths, cut_by_length(lengths, 5), 5) == least

    def test_by_hand(self) -> None:
        lengths = np.array([2, 10, 2, 9, 2])
        assert [rows.tolist() for rows in cut_by_length(lengths, 5)] == [[1, 3], [0, 2, 4]]
        # 50 tokens in one pass, 26 in two: worth it up to a cost of 24.
        assert len(cut_by_length(lengths, 23)) == 2
        assert [rows.tolist() for rows in cut_by_length(lengths, 25)] == [[0, 1, 2, 3, 4]]

    def test_longest_part_comes_first_and_rows_stay_in_order(self) -> None:
        lengths = np.array([5, 90, 7, 40, 88, 6, 41])
        parts = cut_by_length(lengths, 4)
        assert [rows.tolist() for rows in parts] == [[1, 4], [3, 6], [0, 2, 5]]

    def test_equal_lengths_are_one_part(self) -> None:
        assert [rows.tolist() for rows in cut_by_length(np.full(6, 9), 0)] == [[0, 1, 2, 3, 4, 5]]
        assert [rows.tolist() for rows in cut_by_length(np.array([9]), 0)] == [[0]]
