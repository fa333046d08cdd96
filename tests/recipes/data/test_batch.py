"""A batch and its parts: nothing is lost, nothing is padded for nothing, shares add up."""

from itertools import combinations

import numpy as np
import pytest
import torch

from recipes.data.batch import Batch, Loss
from recipes.data.batching import cut_by_length


def make_batch() -> Batch:
    return Batch(
        ids=["a", "b", "c", "d"],
        inputs={
            "input_ids": torch.tensor([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0], [6, 7, 8, 9, 9], [1, 0, 0, 0, 0]]),
            "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]),
        },
        lengths=torch.tensor([3, 2, 5, 1]),
        targets=torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]),
        weights=torch.tensor([1.0, 1.0, 2.0, 0.0]),
        total=4.0,
        epoch=3,
        index=7,
        carried={"lambda": torch.tensor([0.1, 0.2, 0.3, 0.4]), "mask": torch.arange(20).reshape(4, 5)},
    )


class TestTake:
    def test_takes_rows_in_the_order_given_and_trims_to_the_longest(self) -> None:
        part = make_batch().take(np.array([1, 0]), 4)
        assert part.ids == ["b", "a"]
        assert part.inputs["input_ids"].tolist() == [[4, 5, 0], [1, 2, 3]]
        assert part.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
        assert part.lengths.tolist() == [2, 3]
        assert part.targets.tolist() == [[0.0, 1.0], [1.0, 0.0]]
        assert part.weights.tolist() == [1.0, 1.0]
        assert part.carried["lambda"].tolist() == pytest.approx([0.2, 0.1])
        assert part.carried["mask"].tolist() == [[5, 6, 7], [0, 1, 2]]
        assert all(each.is_contiguous() for each in part.inputs.values())
        assert len(part) == 2

    def test_keeps_the_update_and_adds_to_its_place_in_it(self) -> None:
        part = make_batch().take(np.array([2, 3]), 1)
        assert (part.total, part.epoch, part.index, part.part) == (4.0, 3, 7, (1,))
        assert part.take(np.array([0]), 0).part == (1, 0)

    def test_partners_come_along_and_count_for_the_width(self) -> None:
        batch = make_batch()
        mixed = Batch(
            **{
                **vars(batch),
                "partners": batch.reordered(np.array([2, 1, 0, 3])),
                "lengths": torch.tensor([5, 2, 5, 1]),
            }
        )
        part = mixed.take(np.array([0]), 0)
        assert part.inputs["input_ids"].tolist() == [[1, 2, 3, 0, 0]]
        assert part.partners is not None
        assert part.partners.inputs["input_ids"].tolist() == [[6, 7, 8, 9, 9]]
        assert part.partners.part == (0,)

    def test_the_whole_is_never_written_into(self) -> None:
        batch = make_batch()
        part = batch.take(np.array([0, 1]), 0)
        part.inputs["input_ids"][:] = -1
        part.weights[:] = -1
        assert batch.inputs["input_ids"].min() == 0
        assert batch.weights.tolist() == [1.0, 1.0, 2.0, 0.0]

    @pytest.mark.parametrize("sizes", [[4], [2, 2], [3, 1], [1, 1, 1, 1]])
    def test_weights_of_the_parts_sum_to_that_of_the_update(self, sizes: list[int]) -> None:
        batch = make_batch()
        cuts = np.split(np.array([2, 0, 3, 1]), np.cumsum(sizes)[:-1])
        parts = [batch.take(rows, number) for number, rows in enumerate(cuts)]
        assert sum(float(part.weights.sum()) for part in parts) == batch.total
        assert sorted(name for part in parts for name in part.ids) == batch.ids
        assert len({part.part for part in parts}) == len(parts)


def test_reordered_keeps_the_width_and_may_repeat_rows() -> None:
    doubled = make_batch().reordered(np.array([3, 3, 1]))
    assert doubled.ids == ["d", "d", "b"]
    assert doubled.inputs["input_ids"].shape == (3, 5)
    assert doubled.part == ()


def test_without_weight_counts_nothing() -> None:
    batch = make_batch()
    idle = batch.without_weight()
    assert idle.weights.tolist() == [0.0] * 4
    assert idle.total == batch.total
    assert batch.weights.sum() == 4


def test_to_moves_all_but_the_lengths() -> None:
    batch = make_batch()
    assert batch.to(torch.device("cpu")) is batch
    mixed = Batch(**{**vars(batch), "partners": batch})
    moved = mixed.to(torch.device("meta"))
    assert moved.lengths.device.type == "cpu"
    assert moved.partners is not None
    elsewhere = [moved.targets, moved.weights, *moved.inputs.values(), *moved.carried.values(), moved.partners.targets]
    assert {each.device.type for each in elsewhere} == {"meta"}


def test_shares_of_the_loss_add_up() -> None:
    total = sum([Loss(0.5, 0.25), Loss(torch.tensor(1.0), torch.tensor(2.0))], Loss())
    assert (float(total.composed), float(total.cross_entropy)) == (1.5, 2.25)


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
            found = []
            for rest in partitions(rows[1:]):
                found.append([[rows[0]], *rest])
                found += [[*rest[:at], [rows[0], *rest[at]], *rest[at + 1 :]] for at in range(len(rest))]
            return found

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

    def test_longest_part_first_and_rows_as_they_stood(self) -> None:
        lengths = np.array([5, 90, 7, 40, 88, 6, 41])
        parts = cut_by_length(lengths, 4)
        assert [rows.tolist() for rows in parts] == [[1, 4], [3, 6], [0, 2, 5]]

    def test_even_lengths_stay_whole(self) -> None:
        assert [rows.tolist() for rows in cut_by_length(np.full(6, 9), 0)] == [[0, 1, 2, 3, 4, 5]]
        assert [rows.tolist() for rows in cut_by_length(np.array([9]), 0)] == [[0]]
