"""Padded parts: weight 0, padding on the right side, and tensors by name."""

from dataclasses import replace

import pytest
import torch

from recipes.data.batch import Batch
from recipes.graphs.padding import pad_part, tensors_of, with_tensors


def make_part(side: str = "right") -> Batch:
    """Two rows of three and two tokens, with two partners each and two tensors that tricks carry."""
    ids, mask = torch.tensor([[5, 6, 7], [8, 9, 1]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    part = Batch(
        ids=["a", "b"],
        inputs={"input_ids": ids, "attention_mask": mask},
        lengths=torch.tensor([3, 2]),
        targets=torch.eye(2),
        weights=torch.tensor([0.5, 1.5]),
        total=4.0,
        epoch=1,
        index=2,
        part=(3,),
        carried={"row": torch.tensor([10, 20]), "vectors": torch.ones(2, 3, 2)},
        vectors={"hidden": torch.tensor([[1.0, 2.0], [3.0, 4.0]])},
        padding_side=side,
        teacher=torch.tensor([[0.75, 0.25], [0.5, 0.5]]),
    )
    return replace(part, partners=(part, part))


@pytest.mark.parametrize(
    ("side", "ids", "mask"),
    [
        ("right", [[5, 6, 7, 1], [8, 9, 1, 1], [5, 6, 7, 1]], [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]),
        ("left", [[1, 5, 6, 7], [1, 8, 9, 1], [1, 5, 6, 7]], [[0, 1, 1, 1], [0, 1, 1, 0], [0, 1, 1, 1]]),
    ],
)
def test_rows_are_copies_of_the_first_without_weight(side: str, ids: list[list[int]], mask: list[list[int]]) -> None:
    padded = pad_part(make_part(side), 3, 4, {"input_ids": 1})
    assert len(padded.partners) == 2
    for each in (padded, *padded.partners):
        assert each.inputs["input_ids"].tolist() == ids
        assert each.inputs["attention_mask"].tolist() == mask
        assert each.carried["row"].tolist() == [10, 20, 10]
        assert each.carried["vectors"].sum((1, 2)).tolist() == [6, 6, 6]
        assert each.carried["vectors"].shape == (3, 4, 2)
        assert each.vectors["hidden"].tolist() == [[1, 2], [3, 4], [1, 2]]
        assert each.weights.tolist() == [0.5, 1.5, 0]
        assert each.teacher is not None
        assert each.teacher.tolist() == [[0.75, 0.25], [0.5, 0.5], [0.75, 0.25]]
        assert (each.ids, each.lengths.tolist()) == (["a", "b", "a"], [3, 2, 3])
        assert isinstance(each.total, torch.Tensor) and each.total.item() == 4
    assert (padded.epoch, padded.index, padded.part) == (1, 2, (3,))


def test_a_part_of_the_planned_shape_keeps_its_tensors() -> None:
    part = make_part()
    padded = pad_part(part, 2, 3, {"input_ids": 1})
    assert all(padded.inputs[name] is part.inputs[name] for name in part.inputs)
    assert padded.weights is part.weights


def test_a_gradient_reaches_the_tensor_before_padding() -> None:
    vectors = torch.zeros(2, 3, 2, requires_grad=True)
    padded = pad_part(replace(make_part(), carried={"vectors": vectors}), 3, 4, {})
    (padded.carried["vectors"] * torch.arange(4.0)[None, :, None]).sum().backward()
    assert vectors.grad is not None
    assert vectors.grad[0, :, 0].tolist() == [0, 2, 4]  # the added row is a copy of this one
    assert vectors.grad[1, :, 0].tolist() == [0, 1, 2]


def test_tensors_are_read_and_replaced_by_name() -> None:
    padded = pad_part(make_part(), 2, 3, {})
    tensors = tensors_of(padded)
    assert len(tensors) == 27 and {"partners.0.carried.row", "partners.1.carried.row"} <= set(tensors)
    zeros = with_tensors(padded, {name: torch.zeros_like(tensor) for name, tensor in tensors.items()})
    assert list(tensors_of(zeros)) == list(tensors)
    assert not any(tensor.any() for tensor in tensors_of(zeros).values())
    assert zeros.ids == padded.ids
