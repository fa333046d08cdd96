"""Cutting texts by tokens: all of a text's tokens, and the special tokens put around what is kept of them."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

# Any text that has tokens; it shows where the tokenizer puts its special ones.
PROBE = "a"


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text, all of them, without special ones."""
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return encoded["input_ids"]  # type: ignore[no-any-return]


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
