"""Segments: read a long text in segments and pool them inside the model, trained end to end.

A text is cut into segments of `size` tokens, each with its own special tokens. Each segment runs through the model up
to the head. The vectors h_1 ... h_k that would enter the head are pooled, and the head reads the result. Pooling:
`mean` sum h / k, `mean_sqrt` sum h / sqrt(k), `max` the maximum of each dimension, `attention` sum softmax(w h) h with
a trained w, `lstm` its state after h_k, `concat` a trained linear map of `max_segments` segments, padded with 0. For a
pair the longer text is cut, and each segment also has the start of the shorter text, at most half a segment.

Source: Sun et al. 2019, arXiv 1905.05583 (mean, max and self-attention over segments; no better there than head
    and tail); Pappagari et al. 2019, arXiv 1910.10781 (an LSTM over segments, not trained end to end).
Cost: as many passes over a text as it has segments, and a third more: activations of a segment are recomputed in the
    backward pass, so memory holds those of one segment per text, for any length. `passes_per_update` in metrics.json
    counts both.
Use when: the evidence is spread over a text longer than data.max_length. Avoid when: one segment is enough
    (sliding_window), or head and tail are (truncate).
Composes: encode/cut, alone there; model/reshape. Tricks that change word vectors see the full text and need memory for
    its vectors; mixing must act on the vectors before the head. `recipes.load(folder)` predicts with segments; a plain
    transformers pipeline reads the first data.max_length tokens, without the pooling.
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
    """Tokens of a segment."""
    max_segments: int | None = allowed("[1, inf)")
    """Segments of one text."""
    pooling: str = allowed("concat | mean | mean_sqrt | max | attention | lstm")
    """How the vectors of segments are pooled."""

    slots = {"encode": "cut", "model": "reshape"}
    neutral = {"max_segments": 1, "pooling": "mean"}
    remedies = {"long_texts": "+tricks=[{name}]"}
    replays = "the number of its passes depends on the longest text of a part"

    def __post_init__(self) -> None:
        """Refuse concat without a fixed number of segments."""
        super().__post_init__()
        if self.pooling == "concat" and self.max_segments is None:
            raise ValueError("max_segments must be a number at pooling=concat, got null.")

    def check(self, run: Run) -> Iterable[str]:
        """Warn if all texts are short."""
        return check_lengths(run, f"tricks.{self.name}")

    def encode(
        self,
        run: ModelContext,
        inner: Callable[..., Mapping[str, Any]],
        texts: Sequence[str],
        pairs: Sequence[str] | None,
    ) -> Mapping[str, Any]:
        """Concatenate the segments of each text; all but the last have `size` tokens."""
        room = compute_room(run, self.size, f"tricks.{self.name}.size", pairs is not None)
        segments = windows(run.tokenizer, texts, pairs, room, room, self.max_segments)
        return {name: [list(chain.from_iterable(row)) for row in rows] for name, rows in segments.items()}

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """Make the model read segments; the weights of the pool are saved with it, as `segments.*`."""
        model = cast(PreTrainedModel, inner())
        pool = Pool(self.pooling, head(model).in_features, self.max_segments or 0)
        model.add_module("segments", pool)

        def pool_and_count(vectors: Tensor, present: Tensor) -> Tensor:
            # A loaded run and an evaluation train nothing: their passes cost no update.
            if isinstance(run, Run) and torch.is_grad_enabled():
                run.rows_passed += count_passes(present) - len(present)
            return cast(Tensor, pool(vectors, present))

        read_in_segments(model, self.size or run.max_length, pool_and_count)
        return model


def count_passes(present: Tensor) -> float:
    """The passes of a batch, in rows, where a row of one segment is one.

    Args:
        present: which segments each row has, (row, segment).
    """
    # Forward is a third of a pass. It is repeated for each segment unless all rows have only one.
    return int(present.sum()) * (4 / 3 if present.shape[1] > 1 else 1.0)


class Pool(nn.Module):
    """Pool the vectors of segments, (row, segment, hidden), with a mask, (row, segment), into (row, hidden)."""

    def __init__(self, kind: str, hidden: int, most: int) -> None:
        """Create the weights, if any; a `Linear` onto `hidden` could be taken for the model's head."""
        super().__init__()
        self.kind, self.most = kind, most
        if kind == "attention":
            self.score = nn.Linear(hidden, 1, bias=False)
        elif kind == "lstm":
            self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        elif kind == "concat":
            # Its name is part of the keys of saved weights.
            self.joined = nn.Conv1d(hidden, hidden, most)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Pool the vectors; missing segments are 0."""
        counts = present.sum(1, keepdim=True)
        if self.kind == "mean":
            return vectors.sum(1) / counts
        if self.kind == "mean_sqrt":
            return vectors.sum(1) / counts.sqrt()
        if self.kind == "max":
            return vectors.masked_fill(~present[..., None], -torch.inf).amax(1)
        if self.kind == "attention":
            scores: Tensor = self.score(vectors)
            scores = scores.masked_fill(~present[..., None], -torch.inf)
            return (scores.softmax(1) * vectors).sum(1)
        if self.kind == "lstm":
            states: Tensor = self.lstm(vectors)[0]
            return states[torch.arange(len(states), device=states.device), counts[:, 0] - 1]
        padded = nn.functional.pad(vectors, (0, 0, 0, self.most - vectors.shape[1]))
        pooled: Tensor = self.joined(padded.transpose(1, 2))
        return pooled.squeeze(2)
