"""Pad a part of an update to a planned shape, and name the tensors that its pass reads.

Rows that are added have weight 0, and tokens that are added are padding, so no gradient changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from recipes.data.batch import Batch


def pad_part(part: Batch, rows: int, width: int, values: Mapping[str, int]) -> Batch:
    """Pad a part with copies of its first row and with tokens of padding. Its `total` becomes a tensor.

    Args:
        part: the part.
        rows: rows of the result, at least as many as the part has.
        width: tokens of the result, at least as many as the part has.
        values: the padding value of each model input; others are padded with 0.
    """
    missing, behind = rows - len(part), width - part.inputs["input_ids"].shape[1]

    def widen(tensor: Tensor, value: int = 0) -> Tensor:
        if tensor.dim() == 1 or not behind:
            return tensor
        sides = (0, behind) if part.padding_side == "right" else (behind, 0)
        return functional.pad(tensor, [0, 0] * (tensor.dim() - 2) + [*sides], value=value)

    def lengthen(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])]) if missing else tensor

    return replace(
        part,
        ids=[*part.ids, *part.ids[:1] * missing],
        inputs={name: lengthen(widen(tensor, values.get(name, 0))) for name, tensor in part.inputs.items()},
        lengths=lengthen(part.lengths),
        targets=lengthen(part.targets),
        teacher=None if part.teacher is None else lengthen(part.teacher),
        weights=functional.pad(part.weights, (0, missing)) if missing else part.weights,
        total=torch.full((), float(part.total), dtype=part.weights.dtype, device=part.weights.device),
        partners=tuple(pad_part(each, rows, width, values) for each in part.partners),
        carried={name: lengthen(widen(tensor)) for name, tensor in part.carried.items()},
        vectors={name: lengthen(tensor) for name, tensor in part.vectors.items()},
        documents=None if part.documents is None else lengthen(part.documents),
    )


def tensors_of(part: Batch) -> dict[str, Tensor]:
    """All tensors on the device that a pass over a padded part may read, by name."""
    return dict(_walk(part, ""))


def _walk(part: Batch, prefix: str) -> Iterator[tuple[str, Tensor]]:
    yield from ((f"{prefix}inputs.{name}", tensor) for name, tensor in part.inputs.items())
    yield from ((f"{prefix}carried.{name}", tensor) for name, tensor in part.carried.items())
    yield from ((f"{prefix}vectors.{name}", tensor) for name, tensor in part.vectors.items())
    yield from ((f"{prefix}{name}", getattr(part, name)) for name in ("targets", "weights", "total"))
    if part.teacher is not None:
        yield f"{prefix}teacher", part.teacher
    for number, partners in enumerate(part.partners):
        yield from _walk(partners, f"{prefix}partners.{number}.")


def with_tensors(part: Batch, tensors: Mapping[str, Tensor], prefix: str = "") -> Batch:
    """The same part with other tensors, by the names of `tensors_of`."""
    return replace(
        part,
        inputs={name: tensors[f"{prefix}inputs.{name}"] for name in part.inputs},
        carried={name: tensors[f"{prefix}carried.{name}"] for name in part.carried},
        vectors={name: tensors[f"{prefix}vectors.{name}"] for name in part.vectors},
        targets=tensors[f"{prefix}targets"],
        teacher=None if part.teacher is None else tensors[f"{prefix}teacher"],
        weights=tensors[f"{prefix}weights"],
        total=tensors[f"{prefix}total"],
        partners=tuple(
            with_tensors(each, tensors, f"{prefix}partners.{number}.") for number, each in enumerate(part.partners)
        ),
    )
