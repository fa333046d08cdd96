"""Sliding window: read a long text whole, as overlapping windows whose answers are merged.

Windows of r text tokens begin at 0, s, 2s, ... until one reaches the text's end; each has special tokens of its own and
is an input with the text's label. A text's k windows weigh 1/k each in the loss, so a text weighs as much as another.
Its answer: `mean_logits` softmax(mean_w log p_w), `mean_probabilities` mean_w p_w, `max` max_w p_w over its sum, `vote`
(votes + mean_w p_w) / (k + 1); with several labels to a text, the same of each class. A text of one window answers as
that. Of a pair the longer text slides, and at most half a window of the shorter one stands beside it.

Source: Devlin et al. read long paragraphs so (google-research/bert, run_squad.py, doc_stride); for classification
    Pappagari et al. 2019, Hierarchical Transformers for Long Document Classification, arXiv 1910.10781 (there a second
    network merges), and simpletransformers (hard votes, a tie is a fixed class).
Cost: as many passes over a text as it has windows, about n/s. A batch counts texts, so memory goes with their windows:
    `accumulate` bounds it, since its parts count windows.
Use when: what decides may stand anywhere in texts longer than data.max_length. Avoid when: hardly a text is that long,
    or the head and tail tell enough (truncate); most windows of a text may not support its label.
Composes: encode/cut, alone there; predict/vote, outside calibration, which so sees windows. Excludes mixing
    (objective/mix). Predicting with the run folder splits and merges in the same way; a plain transformers pipeline
    over the saved model reads the first data.max_length tokens only.
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
    """How the windows of a text answer as one."""

    slots = {"encode": "cut", "predict": "vote"}
    neutral = {"max_windows": 1}
    remedies = {"long_texts": "+tricks=[{name}]"}

    def excludes(self) -> Mapping[str, str]:
        """A window's label is its document's: two windows do not mix."""
        return {"objective/mix": "windows of different texts would be mixed"}

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
        """Split each text into windows."""
        return windows(run.tokenizer, texts, pairs, *self._measure_windows(run, pairs is not None), self.max_windows)

    def _measure_windows(self, run: ModelContext, in_pairs: bool) -> tuple[int, int]:
        """The text tokens of a window, and those between two starts."""
        room = compute_room(run, self.size, f"tricks.{self.name}.size", in_pairs)
        stride = self.stride or max(1, room * 4 // 5)
        if stride > room:
            raise UserError(
                f"tricks.{self.name}.stride={stride}: a window holds {room} text tokens, so what is between two "
                f"would be lost; choose 1 to {room}."
            )
        return room, stride

    def predict(self, run: ModelContext, inner: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """One answer a document."""
        probabilities = inner(batch)
        if batch.documents is None:
            return probabilities
        answers = torch.split(probabilities, batch.documents.bincount().tolist())
        return torch.stack([self.merge_windows(each, run.multi_label) for each in answers])

    def merge_windows(self, answers: Tensor, multi_label: bool) -> Tensor:
        """A document's probabilities, (class), from those of its windows, (window, class)."""
        mean = answers.mean(0)
        if len(answers) == 1 or self.merge == "mean_probabilities":
            return mean
        if self.merge == "mean_logits":
            limits = torch.finfo(answers.dtype)  # past which a logit is not finite
            if multi_label:
                return answers.logit(limits.eps).mean(0).sigmoid()
            return answers.clamp(limits.tiny).log().mean(0).softmax(-1)
        if self.merge == "max":
            highest = answers.amax(0)
            return highest if multi_label else highest / highest.sum()
        votes = (answers >= 0.5).sum(0) if multi_label else one_hot(answers.argmax(1), answers.shape[1]).sum(0)
        # The mean is a last voter that only a tie can feel.
        return (votes + mean) / (len(answers) + 1)
