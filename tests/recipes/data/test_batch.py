"""A batch and its parts: no row is lost, no padding is wasted, and losses add up."""

import numpy as np
import pytest
import torch

from recipes.data.batch import Batch, Loss


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
        teacher=torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]]),
        vectors={"hidden": torch.arange(24).reshape(4, 6)},
    )


class TestTake:
    def test_takes_rows_in_order_and_trims_padding_to_the_longest(self) -> None:
        part = make_batch().take(np.array([1, 0]), 4)
        assert part.ids == ["b", "a"]
        assert part.inputs["input_ids"].tolist() == [[4, 5, 0], [1, 2, 3]]
        assert part.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
        assert part.lengths.tolist() == [2, 3]
        assert part.targets.tolist() == [[0.0, 1.0], [1.0, 0.0]]
        assert part.weights.tolist() == [1.0, 1.0]
        assert part.carried["lambda"].tolist() == pytest.approx([0.2, 0.1])
        assert part.carried["mask"].tolist() == [[5, 6, 7], [0, 1, 2]]
        assert part.teacher is not None
        assert part.teacher.flatten().tolist() == pytest.approx([0.2, 0.8, 0.9, 0.1])
        assert part.vectors["hidden"].tolist() == [[6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5]]
        assert all(each.is_contiguous() for each in part.inputs.values())
        assert len(part) == 2

    def test_identifies_the_update_and_the_part(self) -> None:
        part = make_batch().take(np.array([2, 3]), 1)
        assert (part.total, part.epoch, part.index, part.part) == (4.0, 3, 7, (1,))
        assert part.take(np.array([0]), 0).part == (1, 0)

    def test_partners_are_taken_too_and_count_for_the_width(self) -> None:
        batch = make_batch()
        mixed = Batch(
            **{
                **vars(batch),
                "partners": (batch.reordered(np.array([2, 1, 0, 3])), batch),
                "lengths": torch.tensor([5, 2, 5, 1]),
            }
        )
        part = mixed.take(np.array([0]), 0)
        assert part.inputs["input_ids"].tolist() == [[1, 2, 3, 0, 0]]
        first, second = part.partners
        assert first.inputs["input_ids"].tolist() == [[6, 7, 8, 9, 9]]
        assert second.inputs["input_ids"].tolist() == [[1, 2, 3, 0, 0]]
        assert first.part == second.part == (0,)

    def test_a_part_shares_no_memory_with_its_batch(self) -> None:
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


def test_without_weight_has_weight_zero() -> None:
    batch = make_batch()
    idle = batch.without_weight()
    assert idle.weights.tolist() == [0.0] * 4
    assert idle.total == batch.total
    assert batch.weights.sum() == 4


def test_to_moves_all_but_the_lengths() -> None:
    batch = make_batch()
    assert batch.to(torch.device("cpu")) is batch
    mixed = Batch(**{**vars(batch), "partners": (batch, batch)})
    moved = mixed.to(torch.device("meta"))
    assert moved.lengths.device.type == "cpu"
    assert moved.teacher is not None
    elsewhere = [moved.targets, moved.weights, *moved.inputs.values(), *moved.carried.values(), moved.teacher]
    elsewhere += [partners.targets for partners in moved.partners]
    assert len(elsewhere) == 9
    assert {each.device.type for each in elsewhere} == {"meta"}


def test_losses_of_parts_add_up() -> None:
    total = sum([Loss(0.5, 0.25), Loss(torch.tensor(1.0), torch.tensor(2.0))], Loss())
    assert (float(total.composed), float(total.cross_entropy)) == (1.5, 2.25)
