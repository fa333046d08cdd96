"""Rows made from rows: the same ones whatever stands beside them, however many make them, made once."""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
import pytest
from datasets import Dataset

from recipes.toolkit.augmentation import _bar, with_variants

TEXTS = ["a b c d e", "f g h i j k", "l m", "n o p q", "r s t u v w x", "y z"]
LABELS = ["no", "yes", "no", "yes", "yes", "no"]


def shuffled(text: str, draws: random.Random) -> Sequence[str]:
    """As many orders of the words as the text has words, at most 4."""
    words = text.split()
    return [" ".join(draws.sample(words, len(words))) for _ in words[:4]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))


def rows(order: Sequence[int] = range(6), pairs: Sequence[str | None] | None = None) -> Dataset:
    ids = [f"r{place}" for place in order]
    second = [None if pairs is None else pairs[place] for place in order]
    columns = {
        "id": ids,
        "source": ids,
        "text": [TEXTS[place] for place in order],
        "text_pair": second,
        "label": [LABELS[place] for place in order],
    }
    return Dataset.from_dict(columns)


def made(examples: Dataset, seed: int = 0, purpose: str = "mixing", workers: int = 1) -> dict[str, tuple[str, ...]]:
    """What came behind the rows, by id."""
    found = with_variants(examples, shuffled, seed, purpose, [], workers)
    assert found[: len(examples)] == examples[:]
    new = found.select(range(len(examples), len(found))).to_list()
    return {row["id"]: (row["source"], row["text"], row["text_pair"], row["label"]) for row in new}


def test_ids_sources_and_labels() -> None:
    found = made(rows())
    assert list(found)[:6] == ["r0+1", "r0+2", "r0+3", "r0+4", "r1+1", "r1+2"]
    assert len(found) == 4 + 4 + 2 + 4 + 4 + 2
    for name, (source, text, pair, label) in found.items():
        place = int(source.removeprefix("r"))
        assert name.startswith(f"{source}+")
        assert sorted(text.split()) == TEXTS[place].split()
        assert (pair, label) == (None, LABELS[place])


def test_a_row_has_the_same_variants_whatever_stands_beside_it() -> None:
    whole = made(rows())
    assert made(rows([4, 2, 5, 0, 3, 1])) == whole
    alone = made(rows([3]))
    assert alone.items() <= whole.items() and len(alone) == 4


def test_other_seeds_and_purposes_draw_otherwise() -> None:
    found = made(rows())
    assert made(rows(), seed=1) != found
    assert made(rows(), purpose="other") != found


def test_two_processes_make_what_one_makes() -> None:
    one = made(rows())
    two = made(rows(), workers=2)
    assert list(two.items()) == list(one.items())


def test_variants_of_a_variant_keep_the_first_source() -> None:
    twice = with_variants(rows([2]), shuffled, 0, "mixing", [])
    found = with_variants(twice, shuffled, 0, "again", [])
    assert found["id"][3:] == ["r2+1", "r2+2", "r2+1+1", "r2+1+2", "r2+2+1", "r2+2+2"]
    assert set(found["source"]) == {"r2"}


def test_both_texts_of_a_pair_change_and_the_shorter_one_counts() -> None:
    found = made(rows([1], ["", "A B C", "", "", "", ""]))
    assert list(found) == ["r1+1", "r1+2", "r1+3"]
    for _, text, pair, _ in found.values():
        assert sorted(text.split()) == list("fghijk")
        assert pair is not None and sorted(pair.split()) == list("ABC")


def test_lists_of_labels_are_kept() -> None:
    examples = rows([0, 1]).remove_columns("label").add_column("label", [["x", "y"], []])
    found = with_variants(examples, shuffled, 0, "mixing", [])
    assert found["label"] == [["x", "y"], [], *[["x", "y"]] * 4, *[[]] * 4]


def test_are_made_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def counted(text: str, draws: random.Random) -> Sequence[str]:
        asked.append(text)
        return shuffled(text, draws)

    first = with_variants(rows(), counted, 0, "mixing", ["a"])
    again = with_variants(rows(), counted, 0, "mixing", ["a"])
    assert asked == TEXTS
    assert again[:] == first[:]
    assert again._fingerprint == first._fingerprint
    other = with_variants(rows(), counted, 0, "mixing", ["b"])
    assert asked == [*TEXTS, *TEXTS]
    assert other._fingerprint != first._fingerprint


def test_a_text_without_variants_adds_nothing() -> None:
    examples = rows()
    found = with_variants(examples, lambda text, draws: [], 0, "nothing", [])
    assert found[:] == examples[:]


@pytest.mark.parametrize(("terminal", "rank", "shown"), [(True, "0", True), (True, "1", False), (False, "0", False)])
def test_a_bar_is_shown_on_the_first_processs_terminal(
    terminal: bool, rank: str, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(ZeroDivisionError), _bar():
        assert datasets.are_progress_bars_disabled() != shown
        raise ZeroDivisionError
    assert datasets.are_progress_bars_disabled()
