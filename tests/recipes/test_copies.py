"""Copies: what is folded, and what a digest tells."""

from datasets import Dataset

from recipes import copies


def rows(*texts: str, pairs: tuple[str, ...] | None = None) -> Dataset:
    return Dataset.from_dict({"text": texts, "text_pair": pairs or [None] * len(texts)})


def test_case_and_white_space_do_not_count() -> None:
    assert copies.folded(rows("A  Good\tfilm ", "a good film", "STRASSE", "straße", "你好　世界\n", "")) == [
        "a good film", "a good film", "strasse", "strasse", "你好 世界", "",
    ]  # fmt: skip


def test_the_pair_counts() -> None:
    assert copies.folded(rows("a b", "a", "a", pairs=("C", "b c", ""))) == ["a b\nc", "a\nb c", "a\n"]
    assert copies.folded(rows("a")) == ["a"]


def test_a_digest_tells_texts_apart() -> None:
    assert copies.digest("a") == copies.digest("a") != copies.digest("b")
    assert len(copies.digest("a" * 1000)) == 16
