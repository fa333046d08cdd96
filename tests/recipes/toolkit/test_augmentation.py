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
    ids = [f"r{index}" for index in order]
    second = [None if pairs is None else pairs[index] for index in order]
    columns = {
        "id": ids,
        "source": ids,
        "text": [TEXTS[index] for index in order],
        "text_pair": second,
        "label": [LABELS[index] for index in order],
    }
    return Dataset.from_dict(columns)


def output(examples: Dataset, seed: int = 0, purpose: str = "mixing", workers: int = 1) -> dict[str, tuple[str, ...]]:
    """What came behind the rows, by id."""
    result = with_variants(examples, shuffled, seed, purpose, [], workers)
    assert result[: len(examples)] == examples[:]
    new = result.select(range(len(examples), len(result))).to_list()
    return {row["id"]: (row["source"], row["text"], row["text_pair"], row["label"]) for row in new}


def test_ids_sources_and_labels() -> None:
    result = output(rows())
    assert list(result)[:6] == ["r0+1", "r0+2", "r0+3", "r0+4", "r1+1", "r1+2"]
    assert len(result) == 4 + 4 + 2 + 4 + 4 + 2
    for name, (source, text, pair, label) in result.items():
        index = int(source.removeprefix("r"))
        assert name.startswith(f"{source}+")
        assert sorted(text.split()) == TEXTS[index].split()
        assert (pair, label) == (None, LABELS[index])


def test_variants_do_not_depend_on_other_rows() -> None:
    full = output(rows())
    assert output(rows([4, 2, 5, 0, 3, 1])) == full
    alone = output(rows([3]))
    assert alone.items() <= full.items() and len(alone) == 4


def test_other_seeds_and_purposes_draw_otherwise() -> None:
    result = output(rows())
    assert output(rows(), seed=1) != result
    assert output(rows(), purpose="other") != result


def test_two_processes_make_what_one_makes() -> None:
    one = output(rows())
    two = output(rows(), workers=2)
    assert list(two.items()) == list(one.items())


def test_variants_of_a_variant_keep_the_first_source() -> None:
    twice = with_variants(rows([2]), shuffled, 0, "mixing", [])
    result = with_variants(twice, shuffled, 0, "again", [])
    assert result["id"][3:] == ["r2+1", "r2+2", "r2+1+1", "r2+1+2", "r2+2+1", "r2+2+2"]
    assert set(result["source"]) == {"r2"}


def test_both_texts_of_a_pair_change_and_the_shorter_one_counts() -> None:
    result = output(rows([1], ["", "A B C", "", "", "", ""]))
    assert list(result) == ["r1+1", "r1+2", "r1+3"]
    for _, text, pair, _ in result.values():
        assert sorted(text.split()) == list("fghijk")
        assert pair is not None and sorted(pair.split()) == list("ABC")


def test_lists_of_labels_stay_lists() -> None:
    examples = rows([0, 1]).remove_columns("label").add_column("label", [["x", "y"], []])
    result = with_variants(examples, shuffled, 0, "mixing", [])
    assert result["label"] == [["x", "y"], [], *[["x", "y"]] * 4, *[[]] * 4]


def test_variants_are_cached(tmp_path: Path) -> None:
    requested: list[str] = []

    def count_passes(text: str, draws: random.Random) -> Sequence[str]:
        requested.append(text)
        return shuffled(text, draws)

    first = with_variants(rows(), count_passes, 0, "mixing", ["a"])
    again = with_variants(rows(), count_passes, 0, "mixing", ["a"])
    assert requested == TEXTS
    assert again[:] == first[:]
    assert again._fingerprint == first._fingerprint
    other = with_variants(rows(), count_passes, 0, "mixing", ["b"])
    assert requested == [*TEXTS, *TEXTS]
    assert other._fingerprint != first._fingerprint


def test_a_text_without_variants_adds_nothing() -> None:
    examples = rows()
    result = with_variants(examples, lambda text, draws: [], 0, "nothing", [])
    assert result[:] == examples[:]


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
