"""Segments: read a long text in pieces and pool them inside the model, trained end to end.

A text is cut into pieces of `size` tokens, each with special tokens of its own. Each goes through the model up to its
head; what would enter the head, h_1 ... h_k, is pooled, and the head sees the pool once: `mean` sum h / k, `mean_sqrt`
sum h / sqrt(k), `max` the highest of each dimension, `attention` sum softmax(w h) h with a trained w, `lstm` its state
behind h_k, `concat` a trained linear map of `max_segments` pieces side by side, 0 where a text has fewer. Of a pair the
longer text is cut, and at most half a piece of the shorter one stands in each.

Source: Sun et al. 2019, arXiv 1905.05583 (mean, max and self-attention over pieces; no better there than head and
    tail); Pappagari et al. 2019, arXiv 1910.10781 (an LSTM over pieces, not trained end to end).
Cost: as many passes over a text as it has pieces, and a third more: a piece's activations are computed a second
    time on the way back, so memory holds those of one piece of each text of a batch, however long they are.
Use when: what decides is spread over a text longer than data.max_length. Avoid when: one piece can tell alone
    (sliding_window asks each), or the ends tell enough (truncate).
Composes: encode/cut, alone there; model/reshape. What changes word vectors sees the whole text, and is paid for with
    memory for them; what mixes must mix the vectors before the head. A run folder loads by `recipes.load(folder)` and
    predicts piece by piece; a plain transformers pipeline over its model reads the first data.max_length tokens,
    without the pooling.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recipes import ModelContext, Run, Trick, allowed
from recipes.models.anatomy import head
from recipes.models.segmented import read_in_segments
from recipes.toolkit.windows import check_lengths, compute_room, windows


@dataclass
class Segments(Trick):
    """Cut when encoding, pool in the model."""

    size: int | None = allowed("[4, inf)")
    """Tokens of a piece."""
    max_segments: int | None = allowed("[1, inf)")
    """Pieces of one text."""
    pooling: str = allowed("concat | mean | mean_sqrt | max | attention | lstm")
    """How pieces become one."""

    slots = {"encode": "cut", "model": "reshape"}
    neutral = {"max_segments": 1, "pooling": "mean"}
    remedies = {"long_texts": "+tricks=[{name}]"}

    def __post_init__(self) -> None:
        """A linear map has so many inputs."""
        super().__post_init__()
        if self.pooling == "concat" and self.max_segments is None:
            raise ValueError("max_segments must be a number at pooling=concat, got null.")

    def check(self, run: Run) -> Iterable[str]:
        """Texts that are short."""
        return check_lengths(run, f"tricks.{self.name}")

    def encode(
        self,
        run: ModelContext,
        inner: Callable[..., Mapping[str, Any]],
        texts: Sequence[str],
        pairs: Sequence[str] | None,
    ) -> Mapping[str, Any]:
        """A text's pieces one behind the other, each but the last of `size` tokens."""
        room = compute_room(run, self.size, f"tricks.{self.name}.size", pairs is not None)
        pieces = windows(run.tokenizer, texts, pairs, room, room, self.max_segments)
        return {name: [list(chain.from_iterable(row)) for row in rows] for name, rows in pieces.items()}

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """Let the model's forward take whole texts; the pool's weights are saved with it, as `segments.*`."""
        model = cast(PreTrainedModel, inner())
        pool = Pool(self.pooling, head(model).in_features, self.max_segments or 0)
        model.add_module("segments", pool)
        read_in_segments(model, self.size or run.max_length, pool)
        return model


class Pool(nn.Module):
    """From the pieces' vectors, (row, piece, hidden), and which are there, (row, piece), to (row, hidden)."""

    def __init__(self, kind: str, hidden: int, most: int) -> None:
        """Make the weights, where there are any; no `Linear` onto `hidden`, which might pass for the model's head."""
        super().__init__()
        self.kind, self.most = kind, most
        if kind == "attention":
            self.score = nn.Linear(hidden, 1, bias=False)
        elif kind == "lstm":
            self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        elif kind == "concat":
            self.joined = nn.Conv1d(hidden, hidden, most)

    def forward(self, pieces: Tensor, present: Tensor) -> Tensor:
        """Pool; a piece that is not there holds 0."""
        counts = present.sum(1, keepdim=True)
        if self.kind == "mean":
            return pieces.sum(1) / counts
        if self.kind == "mean_sqrt":
            return pieces.sum(1) / counts.sqrt()
        if self.kind == "max":
            return pieces.masked_fill(~present[..., None], -torch.inf).amax(1)
        if self.kind == "attention":
            scores: Tensor = self.score(pieces)
            scores = scores.masked_fill(~present[..., None], -torch.inf)
            return (scores.softmax(1) * pieces).sum(1)
        if self.kind == "lstm":
            states: Tensor = self.lstm(pieces)[0]
            return states[torch.arange(len(states), device=states.device), counts[:, 0] - 1]
        padded = nn.functional.pad(pieces, (0, 0, 0, self.most - pieces.shape[1]))
        joined: Tensor = self.joined(padded.transpose(1, 2))
        return joined.squeeze(2)
