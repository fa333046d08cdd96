"""The rows of one update, and the results of a pass over them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from recipes.runtime.transfer import send


@dataclass(frozen=True)
class Batch:
    """The rows that one update consumes over all processes, or a part of them. Immutable: use `dataclasses.replace`.

    A row is a document, or one of its windows. The windows of a document repeat its id and targets and divide its
    weight equally.
    """

    ids: list[str]
    """The records' ids, (row)."""
    inputs: Mapping[str, Tensor]
    """Arguments of the model's forward, each (row, token), padded on `padding_side`."""
    lengths: Tensor
    """Tokens of each row without padding, (row), on the CPU."""
    targets: Tensor
    """(row, class) float: a distribution over classes, or, if multi-label, 0 and 1."""
    weights: Tensor
    """(row) float: weight of each row in the loss; 0 leaves a row out."""
    total: float | Tensor
    """Sum of the weights over the full update, by which the loss of each part is divided; a tensor in padded parts."""
    epoch: int
    index: int
    """Index of the update in its epoch."""
    part: tuple[int, ...] = ()
    """Which part of the update this is. With the epoch and the index it is the key of every random draw."""
    partners: "tuple[Batch, ...]" = ()
    """The rows that these are mixed with, row by row: a batch for the first partner of each row, one for the second,
    and so on. A row with fewer partners is its own partner in the rest. Empty where no trick mixes rows."""
    carried: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that tricks planned for this batch, (row) or (row, token), by name; some stay on the CPU."""
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    """Vectors that tricks planned for the rows, (row, hidden), by name."""
    documents: Tensor | None = None
    """Index, within the update, of the document that each row is a window of, (row), on the CPU; None where each row is
    a document."""
    padding_side: str = "right"
    """Where the padding of `inputs` and `carried` is: right or left."""
    has_fixed_width: bool = False
    """Whether a part is as wide as the batch, even if its longest row is shorter."""
    teacher: Tensor | None = None
    """The probabilities of a teacher, (row, class), which are mixed like the targets; None where there is none."""

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.ids)

    @property
    def examples(self) -> int:
        """The number of documents."""
        return len(self) if self.documents is None else len(set(self.documents.tolist()))

    def take(self, rows: np.ndarray, part: int) -> "Batch":
        """Take these rows as a part of the update, padded to the longest of them.

        Args:
            rows: indices.
            part: number of the part; it is appended to `part`.
        """
        width = None if self.has_fixed_width else int(self.lengths[torch.from_numpy(rows)].max())
        return self._select(rows, width, (*self.part, part))

    def reordered(self, rows: np.ndarray) -> "Batch":
        """The rows in another order, possibly repeated, with the padding unchanged.

        Args:
            rows: indices, in the new order.
        """
        return self._select(rows, None, self.part)

    def _select(self, rows: np.ndarray, width: int | None, part: tuple[int, ...]) -> "Batch":
        on_host = torch.from_numpy(rows)
        index = send(on_host, self.weights.device)

        def select(values: Tensor) -> Tensor:
            selected = values[index if values.device == index.device else on_host]
            if width is None or selected.dim() == 1:
                return selected
            columns = slice(width) if self.padding_side == "right" else slice(selected.shape[1] - width, None)
            return selected[:, columns].contiguous()

        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            inputs={name: select(values) for name, values in self.inputs.items()},
            lengths=self.lengths[on_host],
            targets=self.targets[index],
            teacher=None if self.teacher is None else self.teacher[index],
            weights=self.weights[index],
            part=part,
            partners=tuple(each._select(rows, width, part) for each in self.partners),
            carried={name: select(values) for name, values in self.carried.items()},
            vectors={name: values[index] for name, values in self.vectors.items()},
            documents=None if self.documents is None else self.documents[on_host],
        )

    def without_weight(self) -> "Batch":
        """The same rows with weight 0, for a process that has no rows of its own but must take part in the update."""
        return replace(self, weights=torch.zeros_like(self.weights))

    def to(self, device: torch.device) -> "Batch":
        """Move to a device; lengths and documents stay on the CPU, where batches are divided into parts."""
        if self.weights.device == device:
            return self

        def move(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: send(values, device) for name, values in tensors.items()}

        return replace(
            self,
            inputs=move(self.inputs),
            targets=send(self.targets, device),
            teacher=None if self.teacher is None else send(self.teacher, device),
            weights=send(self.weights, device),
            partners=tuple(each.to(device) for each in self.partners),
            carried=move(self.carried),
            vectors=move(self.vectors),
        )


@dataclass(frozen=True)
class Outcome:
    """What the objective computes from a batch."""

    loss: Tensor
    """Loss of each row, (row), which is minimized."""
    logits: Tensor
    """(row, class)."""
    targets: Tensor
    """(row, class): the targets that the loss was computed with."""
    features: Tensor
    """Input of the model's head, (row, hidden)."""


@dataclass(frozen=True)
class Loss:
    """Contribution of one pass to the mean loss of the update; the contributions of all parts add up to it."""

    composed: Tensor | float = 0.0
    """As minimized, with all tricks."""
    cross_entropy: Tensor | float = 0.0
    """Plain cross-entropy of the same pass, which is comparable between runs with different tricks."""

    def __add__(self, other: "Loss") -> "Loss":
        """The loss of two parts together."""
        return Loss(self.composed + other.composed, self.cross_entropy + other.cross_entropy)
