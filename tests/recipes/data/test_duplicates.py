"""Copies: what is folded, and what a digest tells."""

from datasets import Dataset

from recipes.data import duplicates


def rows(*texts: str, pairs: tuple[str, ...] | None = None) -> Dataset:
    return Dataset.from_dict({"text": texts, "text_pair": pairs or [None] * len(texts)})


def test_case_and_white_space_do_not_count() -> None:
    assert duplicates.fold_rows(rows("A  Good\tfilm ", "a good film", "STRASSE", "straße", "你好　世界\n", "")) == [
        "a good film",
        "a good film",
        "strasse",
        "strasse",
        "你好 世界",
        "",
    ]


def test_the_pair_counts() -> None:
    assert duplicates.fold_rows(rows("a b", "a", "a", pairs=("C", "b c", ""))) == ["a b\nc", "a\nb c", "a\n"]
    assert duplicates.fold_rows(rows("a")) == ["a"]


def test_a_digest_tells_texts_apart() -> None:
    assert duplicates.digest("a") == duplicates.digest("a") != duplicates.digest("b")
    assert len(duplicates.digest("a" * 1000)) == 16


def test_a_pair_is_near_where_both_of_its_texts_are() -> None:
    long = "the results appear in the january issue of an american journal of medicine that is published online today"
    other = long.replace("today", "tomorrow")
    held = duplicates.fold_rows(rows(long, pairs=("the journal is american",)))
    own = duplicates.fold_rows(rows(other, long, pairs=("the journal is american", "the journal is canadian")))
    near = duplicates.first_alike(held, own, 0.85, 5, inside=False)
    assert near == {own[0]: held[0], own[1]: own[1]}
