"""Contrastive: before training, pull texts of one class together and push those of different classes apart.

Each text has a vector v, the input of the head. An update draws `batch_size` texts, two by two of one class, and takes
all pairs among them: loss = (mean over pairs of one class of (1 - cos)^2 + mean over other pairs of cos^2) / 2. With
more than one label, texts that share a label are of one class. Then the head is fitted by logistic regression to the
vectors (C = 1, at mean length 1), and training starts from both. Of a pair of texts there is one vector.

Source: SetFit, Tunstall et al. 2022, arXiv 2209.11055: the same loss, over pairs that are drawn one by one. Here all
    pairs of a batch cost one pass a text. A fitted head before fine-tuning: Kumar et al. 2022, arXiv 2202.10054.
Cost: `epochs` passes over the rows, at most `max_updates` updates, before the first update; `passes_per_update` in
    metrics.json counts them. The result is cached.
Use when: there are few rows of each class, by `recipe=few_shot`, which trains nothing after the stage. Against SetFit,
    with 8 rows a class, accuracy is +0.0325 ± 0.0202 on eda_cr and -0.0003 ± 0.0187 on sms_spam, in 0.6 of its time;
    with 64 rows +0.0004 ± 0.0090 on eda_cr, +0.0080 ± 0.0087 on eda_trec and +0.0038 ± 0.0019 on sms_spam, in half of
    its time or less (eight or ten draws; docs/evidence/short_runs.md).
Avoid when: rows are many, and fine-tuning alone is as good; or classes are ten and the model is e5: two draws of
    thucnews_titles are 2 and 3 points below SetFit. Training after the stage cost 0.0132 ± 0.0066 on eda_trec with 8
    rows.
Composes: pretrain/classes, after `mlm`; model/reshape. The predicted run needs its mean: `recipes.load(folder)` and an
    ONNX export have it, a plain transformers pipeline does not, unless pooling=own.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from recipes import ModelContext, Run, Trick, allowed
from recipes.data.encoding import class_counts
from recipes.models.mean_pooling import read_mean
from recipes.runtime.randomness import generator
from recipes.toolkit.fitted_head import all_vectors, document_vectors, fit_head
from recipes.toolkit.pretraining import Stage, train_stage
from recipes.toolkit.requirements import require_pooled_head


@dataclass
class Contrastive(Trick):
    """Train the encoder on pairs of rows before the head."""

    epochs: float = allowed(
        "[0, inf)",
        advised="[0, 100]",
        source="80 passes over each text in SetFit, arXiv 2209.11055",
        above="the stage takes longer than the training after it",
    )
    """Passes over the training rows; 0: off."""
    max_updates: int | None = allowed("[1, inf)")
    """The most updates of the stage; null: as many as the epochs need."""
    batch_size: int = allowed("[2, inf)")
    """Texts of an update."""
    learning_rate: float = allowed(
        "(0, inf)",
        advised="[1e-6, 3e-4]",
        source="2e-5 in SetFit, arXiv 2209.11055",
        above="all vectors become the same",
        below="the vectors hardly move",
    )
    """The highest learning rate."""
    warmup: float = allowed("[0, 1]")
    """Fraction of the updates over which the learning rate rises."""
    pooling: str = allowed("mean | own")
    """Vector of a text."""
    head: str = allowed("logistic | new")
    """How the head begins."""

    slots = {"model": "reshape", "pretrain": "classes"}
    control = "train_longer"
    neutral = {"epochs": 0.0, "pooling": "own"}
    replays = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fits_head = self.epochs > 0 and self.head == "logistic"

    def excludes(self) -> Mapping[str, str]:
        """Exclude tricks that make one vector of a text in another way."""
        if self.pooling == "own":
            return {}
        return {
            "model/reshape": f"both make one vector of a text (with tricks.{self.name}.pooling=own they go together)"
        }

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """Let the head read the mean."""
        model = cast(PreTrainedModel, inner())
        if self.pooling == "mean":
            read_mean(model, f"tricks.{self.name}.pooling=mean")
        return model

    def export(self, run: ModelContext, in_pairs: bool) -> Mapping[str, Any]:
        """Nothing more: the mean is part of the model's graph."""
        return {}

    def prepare(self, run: Run) -> None:
        """Refuse a model without one vector of a text."""
        if self.epochs:
            require_pooled_head(run.bare_model, f"tricks.{self.name}.pooling={self.pooling}", "use pooling=mean")

    def check(self, run: Run) -> Iterable[str]:
        """Warn of classes without a pair."""
        alone = [name for name, count in zip(run.classes, class_counts(run.train), strict=True) if count == 1]
        if alone and self.epochs:
            yield (
                f"{len(alone)} of {len(run.classes)} classes have one training row each (such as {alone[0]!r}), so no "
                "pair pulls their texts together; label another row of each."
            )

    def pretrain(self, run: Run, inner: Callable[[], None]) -> None:
        """Train on pairs, then fit the head."""
        inner()
        if not self.epochs:
            return
        rows = run.train
        per_epoch = max(1, round(len(rows) / self.batch_size))

        def plan(epoch: int) -> list[np.ndarray]:
            order = order_in_pairs(rows.labels, generator(run.config.seeds.order, self.name, epoch))
            return np.array_split(order, per_epoch)

        def loss(indices: np.ndarray, epoch: int, index: int) -> Tensor:
            batch = rows.collate(indices, epoch, index).to(run.accelerator.device)
            labels = torch.from_numpy(rows.labels[indices]).to(run.accelerator.device)
            return contrast(document_vectors(run, batch), same_class(labels))

        content = [rows.labels.tolist(), rows.offsets.tolist(), *(each.tolist() for each in rows.columns.values())]
        length = self.epochs, self.max_updates
        train_stage(run, Stage(self, run.bare_model, plan, loss, *length, content, self.learning_rate, self.warmup))
        if self.head == "logistic":
            fit_head(run.head, all_vectors(run, rows), rows.labels)


def order_in_pairs(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Shuffle rows so that two of one class stand next to each other, where the class has an even number of rows.

    Args:
        labels: class number, (row), or 0 and 1, (row, class); then rows with equal labels are of one class.
        random: of the draws.
    """
    classes = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    pairs: list[np.ndarray] = []
    for number in range(classes.max() + 1):
        own = random.permutation(np.flatnonzero(classes == number))
        pairs += [own[start : start + 2] for start in range(0, len(own), 2)]
    return np.concatenate([pairs[index] for index in random.permutation(len(pairs))])


def same_class(labels: Tensor) -> Tensor:
    """Which rows are of one class, (row, row): equal class numbers, (row), or a common label, (row, class)."""
    return labels[:, None] == labels if labels.dim() == 1 else (labels.float() @ labels.float().T) > 0


def contrast(vectors: Tensor, same: Tensor) -> Tensor:
    """The loss over all pairs of rows: pairs of one class, and the others, count half each.

    Args:
        vectors: (row, hidden).
        same: whether two rows are of one class, (row, row).
    """
    directions = functional.normalize(vectors.float(), dim=-1)
    cosines = directions @ directions.T
    is_pair = torch.ones_like(same).triu(1)
    positive, negative = (same & is_pair).float(), (~same & is_pair).float()
    # A batch may have no pair of one kind.
    pull = ((1 - cosines) ** 2 * positive).sum() / positive.sum().clamp(min=1)
    push = (cosines**2 * negative).sum() / negative.sum().clamp(min=1)
    return (pull + push) / 2
