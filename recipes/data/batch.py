"""What one update consumes, and what one pass over it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """The rows that one update consumes over all processes, or a part of them. Never written into: make a new one.

    A row is a document, or one of its windows: a document's windows share its weight and repeat its id and targets.
    """

    ids: list[str]
    """The records' ids, (row)."""
    inputs: Mapping[str, Tensor]
    """What the model's forward takes, each (row, token), padded on the right."""
    lengths: Tensor
    """Tokens that a row needs, (row), on the CPU."""
    targets: Tensor
    """(row, class) float: a distribution, or with several labels to a row, a 0/1 vector."""
    weights: Tensor
    """(row) float: a row's weight in the loss; 0 leaves it out."""
    total: float
    """The weights' sum over the whole update: a part's share of the loss is its weight over this."""
    epoch: int
    index: int
    """The update's place in its epoch."""
    part: tuple[int, ...] = ()
    """Which part of the update this is; with the epoch and the index it keys every draw."""
    partners: "Batch | None" = None
    """Row by row, the example that this one is mixed with, where a plan says so."""
    carried: Mapping[str, Tensor] = field(default_factory=dict)
    """What a plan decided, row by row: (row) or (row, token), by name."""
    documents: Tensor | None = None
    """The place, among those of the update, of the document that each row is a window of, (row), on the CPU; None where
    each row is a document."""

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.ids)

    @property
    def examples(self) -> int:
        """The number of documents."""
        return len(self) if self.documents is None else len(set(self.documents.tolist()))

    def take(self, rows: np.ndarray, part: int) -> "Batch":
        """The part that holds these rows, without the padding that they do not need."""
        width = int(self.lengths[torch.from_numpy(rows)].max())
        return self._select(rows, width, (*self.part, part))

    def reordered(self, rows: np.ndarray) -> "Batch":
        """The rows in another order, or some of them more than once, as wide as they are."""
        return self._select(rows, None, self.part)

    def _select(self, rows: np.ndarray, width: int | None, part: tuple[int, ...]) -> "Batch":
        index = torch.from_numpy(rows).to(self.weights.device)

        def pick(values: Tensor) -> Tensor:
            chosen = values[index]
            return chosen[:, :width].contiguous() if chosen.dim() > 1 else chosen

        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            inputs={name: pick(values) for name, values in self.inputs.items()},
            lengths=self.lengths[torch.from_numpy(rows)],
            targets=self.targets[index],
            weights=self.weights[index],
            part=part,
            partners=None if self.partners is None else self.partners._select(rows, width, part),
            carried={name: pick(values) for name, values in self.carried.items()},
            documents=None if self.documents is None else self.documents[torch.from_numpy(rows)],
        )

    def without_weight(self) -> "Batch":
        """The same rows, counting nothing: what a process without rows of its own joins in with."""
        return replace(self, weights=torch.zeros_like(self.weights))

    def to(self, device: torch.device) -> "Batch":
        """The same on another device; lengths and documents stay on the CPU, where rows are cut and joined."""
        if self.weights.device == device:
            return self

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: values.to(device, non_blocking=True) for name, values in tensors.items()}

        return replace(
            self,
            inputs=moved(self.inputs),
            targets=self.targets.to(device, non_blocking=True),
            weights=self.weights.to(device, non_blocking=True),
            partners=None if self.partners is None else self.partners.to(device),
            carried=moved(self.carried),
        )


@dataclass(frozen=True)
class Outcome:
    """What the objective makes of a batch."""

    loss: Tensor
    """One loss per row, (row): what is minimized."""
    logits: Tensor
    """(row, class)."""
    targets: Tensor
    """(row, class): what the logits were measured against."""
    features: Tensor
    """The vectors that the model's head saw, (row, hidden)."""


@dataclass(frozen=True)
class Loss:
    """A pass's share of the update's mean loss; the shares of the parts add up."""

    composed: Tensor | float = 0.0
    """As minimized, with every trick in it."""
    cross_entropy: Tensor | float = 0.0
    """The plain one of the same pass, to compare runs whose tricks differ."""

    def __add__(self, other: "Loss") -> "Loss":
        """The loss of two parts together."""
        return Loss(self.composed + other.composed, self.cross_entropy + other.cross_entropy)
