"""How scores and texts are written in the terminal, on pages and in notebooks."""

from typing import Any


def format_score(value: Any) -> str:
    """A score with four digits; empty if there is none. What is no fraction, such as a count, stays as it is."""
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def shorten_text(text: str, most: int) -> str:
    """Cut a text after `most` characters."""
    return text if len(text) <= most else f"{text[:most]}…"


def begin_upper(sentence: str) -> str:
    """A sentence whose first letter is a capital."""
    return sentence[:1].upper() + sentence[1:]
