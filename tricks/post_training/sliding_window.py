"""Sliding window: read all of a long text as overlapping windows and merge their predictions.

Windows of r text tokens start at 0, s, 2s, ... until one reaches the end of the text. Each has its own special tokens
and is an input with the label of the text. The k windows of a text have weight 1/k each in the loss, so all texts have
the same weight. Predictions are merged by `mean_logits` softmax(mean_w log p_w), `mean_probabilities` mean_w p_w, `max`
max_w p_w over its sum, or `vote` (votes + mean_w p_w) / (k + 1); with multiple labels, the same for each class. A text
of one window keeps its prediction. For a pair the longer text is split, and each window also has the start of the
shorter text, at most half a window.

Source: Devlin et al. for long paragraphs (google-research/bert, run_squad.py, doc_stride); for classification
    Pappagari et al. 2019, Hierarchical Transformers for Long Document Classification, arXiv 1910.10781 (there a second
    network merges), and simpletransformers (hard votes, a tie goes to a fixed class).
Cost: as many passes over a text as it has windows, about n/s. The batch size counts texts, so memory grows with their
    windows; `accumulate` limits it, since its parts count windows.
Use when: the deciding words may be anywhere in texts longer than data.max_length. Avoid when: few texts are that long,
    or head and tail are enough (truncate); most windows of a text may not support its label.
Composes: encode/cut, alone there; predict/vote, outside calibration, which therefore acts on windows. Excludes mixing
    (objective/mix). Predicting with the run folder splits and merges in the same way; a plain transformers pipeline
    over the saved model reads only the first data.max_length tokens.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from recipes import Batch, ModelContext, Run, Trick, UserError, allowed
from recipes.toolkit.windows import check_lengths, compute_room, windows


@dataclass
class SlidingWindow(Trick):
    """Split when encoding, merge when predicting."""

    size: int | None = allowed("[4, inf)")
    """Tokens of a window."""
    stride: int | None = allowed("[1, inf)")
    """Tokens between the starts of two windows."""
    max_windows: int | None = allowed("[1, inf)")
    """Windows of one text."""
    merge: str = allowed("mean_logits | mean_probabilities | max | vote")
    """How the predictions of a text's windows are merged."""

    slots = {"encode": "cut", "predict": "vote"}
    neutral = {"max_windows": 1}
    remedies = {"long_texts": "+tricks=[{name}]"}

    def excludes(self) -> Mapping[str, str]:
        """Exclude mixing: a window may lack the words that support its label."""
        return {"objective/mix": "windows of different texts would be mixed"}

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
        """Split each text into windows."""
        return windows(run.tokenizer, texts, pairs, *self._measure_windows(run, pairs is not None), self.max_windows)

    def _measure_windows(self, run: ModelContext, in_pairs: bool) -> tuple[int, int]:
        """The text tokens of a window, and the stride between two windows."""
        room = compute_room(run, self.size, f"tricks.{self.name}.size", in_pairs)
        stride = self.stride or max(1, room * 4 // 5)
        if stride > room:
            raise UserError(
                f"tricks.{self.name}.stride={stride}: a window holds {room} text tokens, so tokens between two windows "
                f"would be lost; choose 1 to {room}."
            )
        return room, stride

    def export(self, run: ModelContext, in_pairs: bool) -> Mapping[str, Any]:
        """The size of windows, and how they are merged."""
        room, stride = self._measure_windows(run, in_pairs)
        return {"windows": {"room": room, "stride": stride, "most": self.max_windows}, "merge": self.merge}

    def predict(self, run: ModelContext, inner: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Merge the predictions of each document's windows."""
        probabilities = inner(batch)
        if batch.documents is None:
            return probabilities
        predictions = torch.split(probabilities, batch.documents.bincount().tolist())
        return torch.stack([self.merge_windows(each, run.multi_label) for each in predictions])

    def merge_windows(self, answers: Tensor, multi_label: bool) -> Tensor:
        """A document's probabilities, (class), from those of its windows, (window, class)."""
        mean = answers.mean(0)
        if len(answers) == 1 or self.merge == "mean_probabilities":
            return mean
        if self.merge == "mean_logits":
            limits = torch.finfo(answers.dtype)  # beyond these a logit or logarithm is not finite
            if multi_label:
                return answers.logit(limits.eps).mean(0).sigmoid()
            return answers.clamp(limits.tiny).log().mean(0).softmax(-1)
        if self.merge == "max":
            highest = answers.amax(0)
            return highest if multi_label else highest / highest.sum()
        votes = (answers >= 0.5).sum(0) if multi_label else one_hot(answers.argmax(1), answers.shape[1]).sum(0)
        # The mean adds less than one vote, so it only breaks ties.
        return (votes + mean) / (len(answers) + 1)
