"""Cutting texts by tokens: all of a text's tokens, and the special tokens put around what is kept of them."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedTokenizerBase

from recipes.errors import UserError

if TYPE_CHECKING:
    from recipes.trick import ModelContext, Run

# Any text that has tokens; it shows where the tokenizer puts its special ones.
PROBE = "a"
# A tokenizer holds some 100 bytes a token until it is done, and these texts are long.
AT_ONCE = 16


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text, all of them, without special ones."""
    found: list[list[int]] = []
    for begin in range(0, len(texts), AT_ONCE):
        some = list(texts[begin : begin + AT_ONCE])
        encoded = tokenizer(some, add_special_tokens=False, return_attention_mask=False, verbose=False)
        found += encoded["input_ids"]
    return found


def with_special_tokens(
    tokenizer: PreTrainedTokenizerBase, *sides: Sequence[Sequence[int]]
) -> dict[str, list[list[int]]]:
    """What the model takes, as the tokenizer itself would make it of these tokens.

    Args:
        tokenizer: its special tokens and segments are read off one short text.
        *sides: the tokens of every text, or of every first and of every second text of pairs.
    """
    width = len(token_ids(tokenizer, [PROBE])[0])
    probe = tokenizer(*[PROBE] * len(sides), return_special_tokens_mask=True, return_attention_mask=False)
    begins = np.flatnonzero(np.array(probe.pop("special_tokens_mask")) == 0)[::width].tolist()
    ends = [begin + width for begin in begins]
    made = {}
    for name, values in probe.items():
        rows = [values[: begins[0]] for _ in sides[0]]
        for side, begin, end, following in zip(sides, begins, ends, [*begins[1:], len(values)], strict=True):
            for row, ids in zip(rows, side, strict=True):
                row += ids if name == "input_ids" else values[begin : begin + 1] * len(ids)
                row += values[end:following]
        made[name] = rows
    return made


def room_in(run: "ModelContext", size: int | None, path: str, in_pairs: bool) -> int:
    """The text tokens of a window of `size` tokens, or of `data.max_length`.

    Raises:
        UserError: there is no room for text, or the model cannot read so many.
    """
    size = size or run.max_length
    room = size - run.tokenizer.num_special_tokens_to_add(pair=in_pairs)
    if size > run.max_length or room < 1:
        raise UserError(
            f"{path}={size}: a window holds {size - room} special tokens, some text, and at most "
            f"data.max_length={run.max_length} tokens; choose {size - room + 1} to {run.max_length}."
        )
    return room


def windows(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    room: int,
    stride: int,
    most: int | None,
) -> dict[str, list[list[list[int]]]]:
    """What the model takes of each text, window by window; the last window is as long as what is left.

    Args:
        tokenizer: its special tokens are put around every window.
        texts: single texts, or the first ones of pairs.
        pairs: the second ones: the longer text of a pair is split, and at most half a window of the shorter one stands
            in each.
        room: tokens of a window without special ones.
        stride: tokens between the starts of two windows.
        most: windows of one text; None: all.
    """
    first = token_ids(tokenizer, texts)
    rows: list[list[tuple[Sequence[int], ...]]]
    if pairs is None:
        rows = [[(window,) for window in _split(ids, room, stride, most)] for ids in first]
    else:
        second = token_ids(tokenizer, pairs)
        rows = [_split_pair(one, other, room, stride, most) for one, other in zip(first, second, strict=True)]
    sides = zip(*(window for row in rows for window in row), strict=True)
    ends = list(accumulate((len(row) for row in rows), initial=0))
    made = with_special_tokens(tokenizer, *sides)
    return {name: [inputs[begin:end] for begin, end in pairwise(ends)] for name, inputs in made.items()}


def _split(ids: Sequence[int], room: int, stride: int, most: int | None) -> list[Sequence[int]]:
    starts = range(0, max(1, len(ids) - room + stride), stride)[:most]
    return [ids[start : start + room] for start in starts]


def _split_pair(
    one: Sequence[int], other: Sequence[int], room: int, stride: int, most: int | None
) -> list[tuple[Sequence[int], ...]]:
    beside = min(len(one), len(other), room // 2)
    room, stride = room - beside, min(stride, room - beside)
    if len(one) > len(other):
        return [(window, other[:beside]) for window in _split(one, room, stride, most)]
    return [(one[:beside], window) for window in _split(other, room, stride, most)]


def doubts(run: "Run", path: str) -> Iterator[str]:
    """What speaks against caring for long texts here: there are none.

    Args:
        run: whose training rows are looked at.
        path: of the trick that asks.
    """
    if run.train.counts.max() == 1 and run.train.lengths.max() < run.max_length:
        yield f"{path}: no text is longer than data.max_length={run.max_length}, so it does nothing; leave it out."
