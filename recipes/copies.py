"""Which rows are copies: those whose texts, and pairs, are the same but for case and white space."""

import hashlib

from datasets import Dataset


def folded(rows: Dataset) -> list[str]:
    """What a row has in common with its copies, (row): the text, and a line below it its pair."""
    together = zip(rows["text"], rows["text_pair"], strict=True)
    return ["\n".join(_fold(text) for text in pair if text is not None) for pair in together]


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def digest(text: str) -> bytes:
    """Tells whether a folded text is another one, and nothing else about it."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
