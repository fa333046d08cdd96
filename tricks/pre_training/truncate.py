"""Truncate: choose what is kept of a text that is longer than the model's input.

Of the n tokens that fit beside the special ones: the first n, the last n, or the first h and the last n - h, with
h = round(head_share * n). Of a pair, n is dealt to the two texts first, then each is cut by itself. Special tokens and
segments are the tokenizer's own.

Source: Sun, Qiu, Xu, Huang 2019, How to Fine-Tune BERT for Text Classification?, arXiv 1905.05583: on IMDb and Sogou
    news the first 128 and the last 382 of 510 tokens were better than the first or the last 510.
Cost: one pass; texts are tokenized to their end, once.
Use when: texts are longer than data.max_length and end on what they are about, as reviews do. Avoid when: hardly a text
    is cut (the run's header says how many are), or all of a text counts: sliding_window reads it all.
Composes: encode/cut, alone there. Predicting with the run folder cuts in the same way; a plain transformers pipeline
    over the saved model keeps the head.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipes import ModelContext, Run, Trick, allowed
from recipes.toolkit.windows import check_lengths, token_ids, with_special_tokens


@dataclass
class Truncate(Trick):
    """Cut each text to its share of the room."""

    part: str = allowed("head | tail | head_tail")
    """Which end of a text stays."""
    head_fraction: float = allowed("[0, 1]")
    """Of the kept tokens, those from the head."""
    pairs: str = allowed("longest | first | second")
    """Which text of a pair loses tokens."""

    slots = {"encode": "cut"}
    neutral = {"part": "head", "pairs": "longest"}
    remedies = {
        "cut_texts": "+tricks=[{name}] to keep another part",
        "label_in_cut_part": "+tricks=[{name}] tricks.{name}.part=tail",
    }

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
        """Tokenize without special tokens, cut, then add them."""
        room = run.max_length - run.tokenizer.num_special_tokens_to_add(pair=pairs is not None)
        first = token_ids(run.tokenizer, texts)
        if pairs is None:
            return with_special_tokens(run.tokenizer, [self.cut(ids, room) for ids in first])
        second = token_ids(run.tokenizer, pairs)
        sizes = [self.sizes(len(one), len(other), room) for one, other in zip(first, second, strict=True)]
        return with_special_tokens(
            run.tokenizer,
            [self.cut(ids, size) for ids, (size, _) in zip(first, sizes, strict=True)],
            [self.cut(ids, size) for ids, (_, size) in zip(second, sizes, strict=True)],
        )

    def cut(self, ids: Sequence[int], size: int) -> Sequence[int]:
        """So many of a text's tokens, or all where it has no more."""
        if len(ids) <= size:
            return ids
        head = {"head": size, "tail": 0, "head_tail": round(self.head_fraction * size)}[self.part]
        return [*ids[:head], *ids[len(ids) - (size - head) :]]

    def sizes(self, first: int, second: int, room: int) -> tuple[int, int]:
        """How many tokens of each text of a pair stay."""
        half = room // 2 + (room % 2 if first > second else 0)
        sure = {"longest": half, "first": 0, "second": room}[self.pairs]
        kept = min(first, max(room - second, sure))
        return kept, min(second, room - kept)
