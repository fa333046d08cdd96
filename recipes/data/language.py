"""Guess the language of texts from their letters and function words."""

import re
from collections import Counter
from collections.abc import Sequence

SAMPLE = 1000
"""Texts that are looked at."""
SCRIPTS = {
    "ja": "\u3040-\u30ff",
    "ko": "\uac00-\ud7a3",
    "zh": "\u4e00-\u9fff",
}
"""The letters of languages that are known by their letters. A Japanese text has Chinese characters too."""
ENGLISH = frozenset("the of and to a in is it that for on with as was be this are at by not or you have from".split())
"""Function words. A language that shares some of their spellings uses fewer of them."""


def guess_language(texts: Sequence[str]) -> str | None:
    """Guess the language of most texts, as ISO 639-1: en, zh, ja or ko; None if it is another one, or unclear."""
    sample = " ".join(texts[:SAMPLE])
    letters = Counter(
        next((name for name, characters in SCRIPTS.items() if re.match(f"[{characters}]", letter)), "other")
        for letter in sample
        if letter.isalpha()
    )
    total = letters.total()
    if not total:
        return None
    if letters["ko"] > total / 2:
        return "ko"
    if letters["zh"] + letters["ja"] > total / 2:
        return "ja" if letters["ja"] > total / 5 else "zh"
    words = re.findall(r"\b[a-z']+\b", sample.lower())
    english = sum(word in ENGLISH for word in words)
    return "en" if words and english > 0.15 * len(words) and letters["other"] > total / 2 else None
