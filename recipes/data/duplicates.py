"""Which rows are copies: those whose texts, and pairs, are the same but for case and white space."""

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

from datasets import Dataset

PERMUTATIONS = 128
# Candidates are compared exactly, so one too many costs time only: they are sought from a little below the threshold,
# and a miss weighs nine times as much. Of the pairs at a threshold of 0.9 it finds 99.9 %, at 0.8 and 0.5 98 %.
MARGIN, WEIGHTS = 0.9, (0.1, 0.9)


def fold_rows(rows: Dataset) -> list[str]:
    """What a row has in common with its copies, (row): the text, and a line below it its pair."""
    together = zip(rows["text"][:], rows["text_pair"][:], strict=True)
    return ["\n".join(_fold(text) for text in pair if text is not None) for pair in together]


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def digest(text: str) -> bytes:
    """Tells whether a folded text is another one, and nothing else about it."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def comparable(label: Any) -> object:
    """A label, or a set of several."""
    return frozenset(label) if isinstance(label, list) else label


def first_alike(
    held: Collection[str], own: Sequence[str], threshold: float, shingle: int, inside: bool
) -> dict[str, str]:
    """For each text of one's own the first that it is a near copy of, held ones first, or itself.

    Args:
        held: folded texts, apart.
        own: folded texts, each once.
        threshold: share of common character sequences that makes a near copy, below 1.
        shingle: characters of a sequence.
        inside: whether one's own texts are compared with each other too.

    Raises:
        ImportError: the package datasketch is not there.
    """
    from datasketch import MinHash, MinHashLSH

    texts = [*held, *own]
    index = MinHashLSH(MARGIN * threshold, PERMUTATIONS, WEIGHTS)
    encoded = ([each.encode() for each in _shingles(text, shingle)] for text in texts)
    first: dict[str, str] = {}
    for place, hashed in enumerate(MinHash.generator(encoded, num_perm=PERMUTATIONS)):
        text = texts[place]
        if place >= len(held):
            alike = [other for other in index.query(hashed) if _is_near(texts[other], text, threshold, shingle)]
            first[text] = texts[min(alike, default=place)]
        # Only the first of a group stands for it, else likeness would run on from one text to the next.
        if place < len(held) or (inside and first[text] == text):
            index.insert(place, hashed, check_duplication=False)
    return first


def _shingles(text: str, size: int) -> set[str]:
    return {text[start : start + size] for start in range(max(1, len(text) - size + 1))}


def _is_near(one: str, other: str, threshold: float, shingle: int) -> bool:
    """Whether two folded texts, and of two pairs each one's first and second, are near copies."""
    for ours, theirs in zip(one.split("\n"), other.split("\n"), strict=True):
        first, second = _shingles(ours, shingle), _shingles(theirs, shingle)
        if len(first & second) < threshold * len(first | second):
            return False
    return True
