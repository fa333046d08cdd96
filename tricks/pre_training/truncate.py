"""Truncate: choose which part of a text remains if it is longer than the model's input.

If n tokens fit next to the special tokens, the trick takes the first n, the last n, or the first h and the last n - h,
with h = round(head_fraction * n). For a pair, n is divided between the two texts first, then each is cut separately.
Special tokens and segment ids come from the tokenizer.

Source: Sun, Qiu, Xu, Huang 2019, How to Fine-Tune BERT for Text Classification?, arXiv 1905.05583: on IMDb and Sogou
    news the first 128 and the last 382 of 510 tokens were better than the first or the last 510.
Cost: one pass; full texts are tokenized, once.
Use when: texts are longer than data.max_length and their end matters, as in reviews. Avoid when: few texts are cut (the
    header of the run shows how many), or all of a text matters: sliding_window reads it all.
Composes: encode/cut, alone there. Predicting with the run folder cuts in the same way; a plain transformers pipeline
    over the saved model keeps the head.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipes import ModelContext, Run, Trick, allowed
from recipes.export.reader import cut_text, divide_room
from recipes.toolkit.windows import check_lengths, token_ids, with_special_tokens


@dataclass
class Truncate(Trick):
    """Cut each text to the tokens that fit."""

    part: str = allowed("head | tail | head_tail")
    """Which part of a text remains."""
    head_fraction: float = allowed("[0, 1]")
    """Fraction of the remaining tokens that come from the head."""
    pairs: str = allowed("longest | first | second")
    """Which text of a pair loses tokens."""

    slots = {"encode": "cut"}
    neutral = {"part": "head", "pairs": "longest"}
    remedies = {
        "cut_texts": "+tricks=[{name}] to keep another part",
        "label_in_cut_part": "+tricks=[{name}] tricks.{name}.part=tail",
    }

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
        """Take `size` tokens of a text, or all if it has fewer."""
        return cut_text(ids, size, self.part, self.head_fraction)

    def sizes(self, first: int, second: int, room: int) -> tuple[int, int]:
        """The number of tokens that remain of each text of a pair."""
        return divide_room(first, second, room, self.pairs)

    def export(self, run: ModelContext, in_pairs: bool) -> Mapping[str, Any]:
        """Which tokens remain, and of which text of a pair."""
        room = run.max_length - run.tokenizer.num_special_tokens_to_add(pair=in_pairs)
        return {"cut": {"room": room, "part": self.part, "head_fraction": self.head_fraction, "pairs": self.pairs}}
