"""Cut texts into windows of tokens, and add special tokens to each window."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedTokenizerBase

from recipes.errors import UserError
from recipes.export.reader import split, split_pair

if TYPE_CHECKING:
    from recipes.trick import ModelContext, Run

# Any short text; its encoding shows where the tokenizer puts special tokens.
PROBE = "a"
# Texts per call: a tokenizer needs about 100 bytes per token during a call, and these texts are long.
AT_ONCE = 16


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """All tokens of each text, without special tokens."""
    ids: list[list[int]] = []
    for begin in range(0, len(texts), AT_ONCE):
        chunk = list(texts[begin : begin + AT_ONCE])
        encoded = tokenizer(chunk, add_special_tokens=False, return_attention_mask=False, verbose=False)
        ids += encoded["input_ids"]
    return ids


def with_special_tokens(
    tokenizer: PreTrainedTokenizerBase, *sides: Sequence[Sequence[int]]
) -> dict[str, list[list[int]]]:
    """Build the model inputs that the tokenizer itself would return for these tokens.

    Args:
        tokenizer: its special tokens and segments are taken from the encoding of one short text.
        *sides: the tokens of all texts; for pairs, those of all first texts and those of all second texts.
    """
    width = len(token_ids(tokenizer, [PROBE])[0])
    probe = tokenizer(*[PROBE] * len(sides), return_special_tokens_mask=True, return_attention_mask=False)
    begins = np.flatnonzero(np.array(probe.pop("special_tokens_mask")) == 0)[::width].tolist()
    ends = [begin + width for begin in begins]
    inputs = {}
    for name, values in probe.items():
        rows = [values[: begins[0]] for _ in sides[0]]
        for side, begin, end, following in zip(sides, begins, ends, [*begins[1:], len(values)], strict=True):
            for row, ids in zip(rows, side, strict=True):
                row += ids if name == "input_ids" else values[begin : begin + 1] * len(ids)
                row += values[end:following]
        inputs[name] = rows
    return inputs


def compute_room(run: "ModelContext", size: int | None, path: str, in_pairs: bool) -> int:
    """The number of text tokens in a window of `size` tokens, or of `data.max_length` if it is None.

    Raises:
        UserError: there is no room for text, or the window exceeds `data.max_length`.
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
    """Split each text into windows and build their model inputs; the last window may be shorter.

    Args:
        tokenizer: its special tokens are added to every window.
        texts: single texts, or the first texts of pairs.
        pairs: the second texts. The longer text of a pair is split, and each window also has the start of the shorter
            one, at most half a window.
        room: text tokens of a window.
        stride: tokens between the starts of two windows.
        most: the most windows of one text; None for no limit.
    """
    first = token_ids(tokenizer, texts)
    rows: list[list[tuple[Sequence[int], ...]]]
    if pairs is None:
        rows = [[(window,) for window in split(ids, room, stride, most)] for ids in first]
    else:
        second = token_ids(tokenizer, pairs)
        rows = [split_pair(one, other, room, stride, most) for one, other in zip(first, second, strict=True)]
    sides = zip(*(window for row in rows for window in row), strict=True)
    ends = list(accumulate((len(row) for row in rows), initial=0))
    inputs = with_special_tokens(tokenizer, *sides)
    return {name: [rows_of_input[begin:end] for begin, end in pairwise(ends)] for name, rows_of_input in inputs.items()}


def check_lengths(run: "Run", path: str) -> Iterator[str]:
    """Warn if no text is longer than the model's input.

    Args:
        run: its training rows are checked.
        path: dotted path of the trick that calls this.
    """
    if run.train.counts.max() == 1 and run.train.lengths.max() < run.max_length:
        yield f"{path}: no text is longer than data.max_length={run.max_length}, so it does nothing; leave it out."
