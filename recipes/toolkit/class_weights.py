"""How much each class weighs, so that rare ones are heard; for the tricks that weigh classes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recipes.compose.remedies import remedies_for
from recipes.data.encoding import class_counts
from recipes.errors import UserError, nearest

if TYPE_CHECKING:
    from recipes.trick import Run


def class_weights(run: "Run", scheme: str, beta: float, values: Mapping[str, float], path: str) -> Tensor:
    """The weight of each class, (class), scaled so that the mean over the training rows is 1.

    Args:
        run: whose training rows are counted; a class without any weighs as one with one row.
        scheme: `balanced`: 1 / rows; `effective_number`: (1 - beta) / (1 - beta ** rows); `given`: as `values` says.
        beta: in [0, 1); 0 weighs all alike, near 1 it is `balanced`.
        values: a weight above 0 for each class, by name; read where `given`.
        path: of the trick, for the user.

    Raises:
        UserError: `values` are not a weight above 0 for each class and no other.
    """
    counts = class_counts(run.train)
    rows = np.maximum(counts, 1)
    if scheme == "given":
        weights = _given(values, run.classes, path)
    elif scheme == "effective_number":
        weights = (1 - beta) / (1 - beta**rows)
    else:
        weights = 1 / rows
    return torch.from_numpy(weights * (counts.sum() / (weights * counts).sum()))


def _given(values: Mapping[str, float], classes: Sequence[str], path: str) -> np.ndarray:
    for name, weight in values.items():
        if name not in classes:
            raise UserError(f"{path}.values.{name}: there is no such class; {nearest(name, classes)}")
        if not 0 < weight < float("inf"):
            raise UserError(f"{path}.values.{name} must be a number in (0, inf), got {weight}.")
    if missing := [name for name in classes if name not in values]:
        raise UserError(f"{path}.values: every class needs a weight; missing: {', '.join(missing)}.")
    return np.array([values[name] for name in classes], dtype=float)


def one_label(run: "Run", path: str) -> None:
    """Raise `UserError` where rows have several labels."""
    if run.multi_label:
        instead = " or ".join(remedies_for("rare_labels", run.config.tricks)) or "leave it out"
        raise UserError(f"{path}: rows have several labels here, and this is for rows with one; {instead}.")


def doubts(run: "Run", path: str) -> Iterator[str]:
    """What speaks against making up for imbalance here: there is none, or another trick does so too.

    Args:
        run: whose training rows are counted.
        path: of the trick that asks.
    """
    counts = class_counts(run.train)
    if counts.max() < 1.5 * max(1, counts.min()):
        yield f"{path}: every class has about as many rows as the others; leave it out."
    places = {"batches": "batches", "loss": "weighting"}
    found = [
        name
        for name, trick in run.tricks.items()
        if any(trick.slots.get(seam) == slot for seam, slot in places.items())
    ]
    if len(found) > 1 and path == f"tricks.{found[0]}":
        yield f"{' and '.join(found)} make up for the same imbalance twice; keep one of them."
