"""Class weights, and the checks that all tricks against class imbalance need."""

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
    """Compute the weight of each class, (class), scaled so that the mean over the training rows is 1.

    Args:
        run: its training rows are counted; a class without rows gets the weight of a class with one row.
        scheme: `balanced`: 1 / rows; `effective_number`: (1 - beta) / (1 - beta ** rows); `given`: as `values` says.
        beta: in [0, 1); 0 gives equal weights, values near 1 approach `balanced`.
        values: a weight above 0 for each class, by name; only used by `given`.
        path: dotted path of the trick, for messages.

    Raises:
        UserError: `values` lacks a class, has an unknown one, or has a weight that is not positive and finite.
    """
    counts = class_counts(run.train)
    rows = np.maximum(counts, 1)
    if scheme == "given":
        weights = _read_weights(values, run.classes, path)
    elif scheme == "effective_number":
        weights = (1 - beta) / (1 - beta**rows)
    else:
        weights = 1 / rows
    return torch.from_numpy(weights * (counts.sum() / (weights * counts).sum()))


def _read_weights(values: Mapping[str, float], classes: Sequence[str], path: str) -> np.ndarray:
    for name, weight in values.items():
        if name not in classes:
            raise UserError(f"{path}.values.{name}: there is no such class; {nearest(name, classes)}")
        if not 0 < weight < float("inf"):
            raise UserError(f"{path}.values.{name} must be a number in (0, inf), got {weight}.")
    if missing := [name for name in classes if name not in values]:
        examples = ", ".join(f"{path}.values.{name}=1.0" for name in missing)
        raise UserError(f"{path}.values: every class needs a weight; missing: {', '.join(missing)}; set {examples}.")
    return np.array([values[name] for name in classes], dtype=float)


def require_one_label(run: "Run", path: str) -> None:
    """Raise `UserError` if rows have several labels."""
    if run.multi_label:
        instead = " or ".join(remedies_for("rare_labels", run.config.tricks)) or "leave it out"
        raise UserError(f"{path}: rows have several labels here, and this is for rows with one; {instead}.")


def check_imbalance(run: "Run", path: str) -> Iterator[str]:
    """Warn if the classes are balanced, or if two tricks correct the same imbalance.

    Args:
        run: its training rows are counted.
        path: dotted path of the trick that calls this.
    """
    counts = class_counts(run.train)
    if counts.max() < 1.5 * max(1, counts.min()):
        yield f"{path}: every class has about as many rows as the others; leave it out."
    imbalance_slots = {"batches": "batches", "loss": "weighting"}
    # Only the first of these tricks warns, so that the message appears once.
    active = [
        name
        for name, trick in run.tricks.items()
        if any(trick.slots.get(seam) == slot for seam, slot in imbalance_slots.items())
    ]
    if len(active) > 1 and path == f"tricks.{active[0]}":
        yield f"{' and '.join(active)} correct the same imbalance twice; keep one of them."
