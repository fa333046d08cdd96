"""Deduplicate: which rows stay, worked out by hand, and that the test split stays shut."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from datasets import Dataset

from recipes.compose.tricks import build
from recipes.data.splits import Splits, read_splits
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.testing import in_child, make_text_file, temporary_folder, tiny_config
from tricks.pre_training.deduplicate import Deduplicate

FEATURES = {name: datasets.Value("string") for name in ("id", "source", "text", "text_pair", "label")}
MANY = {**FEATURES, "label": datasets.List(datasets.Value("string"))}


def rows(*texts: str, labels: Sequence[Any] = (), pairs: Sequence[str] = ()) -> Dataset:
    ids = [str(number) for number in range(len(texts))]
    columns = {
        "id": ids,
        "source": ids,
        "text": texts,
        "text_pair": pairs or [None] * len(texts),
        "label": labels or ["x"] * len(texts),
    }
    features = MANY if labels and isinstance(labels[0], list) else FEATURES
    return Dataset.from_dict(columns, datasets.Features(features))


def trick(inside: bool = True, held_out: bool = True, threshold: float = 1.0, shingle: int = 2) -> Deduplicate:
    return Deduplicate(inside=inside, held_out=held_out, threshold=threshold, shingle=shingle)


def remaining(
    train: Dataset, validation: Dataset | None = None, test: Dataset | None = None, **settings: Any
) -> tuple[list[str], list[str]]:
    """The ids that stay, and what is told."""
    notes: list[str] = []
    splits = Splits(train, validation or rows("nothing alike"), test, ["x", "y"], False)
    hidden = splits.hide_test(lambda each: each)
    run: Any = SimpleNamespace(note=notes.append, splits=hidden, clean_rows=lambda each: each)
    left = trick(**settings).examples(run, lambda each: each, train)
    by_id = {row["id"]: row for row in train}
    assert all(row == by_id[row["id"]] for row in left)
    return list(left["id"]), notes


class TestExact:
    def test_the_first_of_each_group_stays(self) -> None:
        result, notes = remaining(rows("a film", "b", "A  Film", "c", "a film\n", "b"))
        assert result == ["0", "1", "3"]
        assert notes == ["deduplicate: 3 of 6 training rows dropped; exact duplicates 3 (id 2, 4, 5)."]

    def test_the_pair_counts(self) -> None:
        assert remaining(rows("a", "a", "a", pairs=["b", "c", "B"]))[0] == ["0", "1"]

    def test_nothing_alike(self) -> None:
        result, notes = remaining(rows("a", "b", ""))
        assert result == ["0", "1", "2"]
        assert notes == ["deduplicate: 0 of 3 training rows dropped."]

    def test_rows_that_stand_elsewhere_go(self) -> None:
        train = rows("a", "B ", "c", "c", "d", "e")
        result, notes = remaining(train, rows("b", "c"), rows("E", "f"))
        assert result == ["0", "4"]
        assert notes == [
            "deduplicate: 4 of 6 training rows dropped; "
            "in test or evaluate.extra 1 (id 5); in validation 3 (id 1, 2, 3)."
        ]

    def test_the_first_of_many_ids_are_listed(self) -> None:
        assert remaining(rows(*"aaaaa"))[1] == [
            "deduplicate: 4 of 5 training rows dropped; exact duplicates 4 (id 1, 2, 3, ...)."
        ]

    def test_only_the_selected_kinds_are_dropped(self) -> None:
        train = rows("a", "a", "b", "c")
        assert remaining(train, rows("b"), rows("c"), inside=False)[0] == ["0", "1"]
        assert remaining(train, rows("b"), rows("c"), held_out=False)[0] == ["0", "2", "3"]
        assert remaining(train, rows("b"), rows("c"), inside=False, held_out=False) == (["0", "1", "2", "3"], [])


class TestLabels:
    def test_the_most_frequent_label_stays(self) -> None:
        result, notes = remaining(rows("a", "a", "b", "a", "b", labels=["y", "x", "y", "x", "y"]))
        assert result == ["1", "2"]
        assert notes[1].startswith("deduplicate: groups of duplicates with different labels: 1;")

    def test_the_first_of_equally_frequent_ones(self) -> None:
        assert remaining(rows("a", "a", "a", "a", labels=["y", "x", "x", "y"]))[0] == ["0"]

    def test_multiple_labels_are_compared_as_a_set(self) -> None:
        train = rows("a", "a", "a", labels=[["x"], ["x", "y"], ["y", "x"]])
        assert remaining(train)[0] == ["1"]
        assert len(remaining(rows("a", "a", labels=[["x", "y"], ["y", "x"]]))[1]) == 1


class TestNear:
    """Pairs of characters: abcdef and abcdeg share ab bc cd de of those and ef, eg: 4 / 6."""

    @pytest.fixture(autouse=True)
    def needs_datasketch(self) -> None:
        pytest.importorskip("datasketch")

    @pytest.mark.parametrize(("threshold", "left"), [(0.5, ["0"]), (0.66, ["0"]), (0.67, ["0", "1"]), (1, ["0", "1"])])
    def test_from_the_threshold_on(self, threshold: float, left: list[str]) -> None:
        assert remaining(rows("abcdef", "abcdeg"), threshold=threshold)[0] == left

    def test_longer_sequences_share_less(self) -> None:
        # abc bcd cde of those and def, deg: 3 / 5.
        assert remaining(rows("abcdef", "abcdeg"), threshold=0.65, shingle=3)[0] == ["0", "1"]
        assert remaining(rows("abcdef", "abcdeg"), threshold=0.55, shingle=3)[0] == ["0"]

    def test_only_a_little_below_1(self) -> None:
        assert remaining(rows("abcdef", "abcdeg", "ABCDEF"), threshold=0.999)[0] == ["0", "1"]

    def test_shorter_than_a_sequence(self) -> None:
        assert remaining(rows("a", "b", "", "ab"), threshold=0.5, shingle=3)[0] == ["0", "1", "2", "3"]

    def test_chinese(self) -> None:
        # 16 pairs each, 15 in common: 15 / 17.
        one, other = "这家酒店的服务非常好下次还会再来", "这家酒店的服务非常好下次还会再住"
        assert len(one) == len(other) == 16
        assert remaining(rows(one, other, "房间很小也不干净"), threshold=0.85)[0] == ["0", "2"]

    def test_exact_and_near_duplicates_are_counted_separately(self) -> None:
        result, notes = remaining(rows("abcdef", "abcdeg", "ABCDEF", "uvwxyz"), threshold=0.6)
        assert result == ["0", "3"]
        assert notes == [
            "deduplicate: 2 of 4 training rows dropped; exact duplicates 1 (id 2); near-duplicates 1 (id 1)."
        ]

    def test_likeness_does_not_run_on(self) -> None:
        # Neighbours share 4 / 6, the first and the third 3 / 7.
        assert remaining(rows("abcdef", "abcdeg", "zbcdeg"), threshold=0.6)[0] == ["0", "2"]
        assert remaining(rows("abcdef", "abcdeg", "zbcdeg", "zbcdeh"), threshold=0.6)[0] == ["0", "2"]

    def test_near_a_validation_row(self) -> None:
        train = rows("abcdef", "uvwxyz", "uvwxyy")
        result, notes = remaining(train, rows("abcdeg"), threshold=0.6)
        assert result == ["1"]
        assert "nearly in validation 1" in notes[0] and "near-duplicates 1" in notes[0]
        assert remaining(train, rows("abcdeg"), threshold=0.6, inside=False)[0] == ["1", "2"]
        assert remaining(train, rows("abcdeg"), threshold=0.6, held_out=False)[0] == ["0", "1"]

    def test_near_a_validation_row_comes_before_near_a_training_row(self) -> None:
        # abcdeh shares 4 / 6 with each of the others, which share 3 / 7.
        result, notes = remaining(rows("zbcdeh", "abcdeh"), rows("abcdef"), threshold=0.6)
        assert result == ["0"]
        assert "nearly in validation 1 (id 1)" in notes[0]

    def test_near_any_of_alike_validation_rows(self) -> None:
        # The validation rows share 6 / 8; zbcdefgi has 6 / 8 in common with the second, 5 / 9 with the first.
        assert remaining(rows("zbcdefgi", "uvw"), rows("abcdefgh", "abcdefgi"), threshold=0.7)[0] == ["1"]

    def test_only_exact_duplicates_of_the_test_split_are_found(self) -> None:
        assert remaining(rows("abcdef", "uvw"), None, rows("abcdeg"), threshold=0.6)[0] == ["0", "1"]

    def test_the_most_frequent_label_of_near_duplicates_stays(self) -> None:
        train = rows("abcdef", "abcdeg", "abcdeg", labels=["x", "y", "y"])
        assert remaining(train, threshold=0.6)[0] == ["1"]


def test_neutral_values_touch_nothing() -> None:
    run: Any = None
    train = rows("a", "a")
    assert trick(inside=False, held_out=False).examples(run, lambda each: each, train) is train


def test_the_result_has_the_same_name_in_the_cache_each_time() -> None:
    def fingerprint(*texts: str) -> str:
        run: Any = SimpleNamespace(note=lambda text: None)
        left = trick(held_out=False).examples(run, lambda each: each, rows(*texts))
        return str(left._fingerprint)

    assert fingerprint("a", "a", "b", "c", "b") == fingerprint("a", "a", "b", "c", "b")
    assert fingerprint("a", "a", "b", "c", "b") != fingerprint("a", "a", "b", "c", "c")


def test_nothing_is_left() -> None:
    with pytest.raises(UserError, match="^tricks.deduplicate: every training row is in "):
        remaining(rows("a", "b"), rows("a"), rows("b"))


def test_without_datasketch_exact_duplicates_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    assert remaining(rows("a", "A"))[0] == ["0"]
    with pytest.raises(UserError, match=r"^tricks.deduplicate.threshold=0.9: .*'trickbook\[deduplicate\]'"):
        remaining(rows("a", "A"), threshold=0.9)


@pytest.mark.parametrize(("tricks", "result"), [("deduplicate", False), ("deduplicate,normalize", True)])
def test_a_run_compares_what_normalize_leaves(tmp_path: Path, tricks: str, result: bool) -> None:
    lines = make_text_file(12).read_text(encoding="utf-8").splitlines()
    files = []
    for split, duplicate in (("test", lines[1:4]), ("validation", lines[4:9])):
        files.append(f"data.{split}={tmp_path / split}.csv")
        text = "text,label\n" + "".join(f"\ufeff{line}\n" for line in duplicate)
        (tmp_path / f"{split}.csv").write_text(text, encoding="utf-8")
    config = tiny_config(*files, f"+tricks=[{tricks}]", "tricks.deduplicate.threshold=1.0")

    def look() -> tuple[bool, int, list[str]]:
        with temporary_folder() as folder:
            run = TrainingRun(config, build(config.tricks), read_splits(config.data, {}, True), folder)
        return hasattr(run.splits, "test"), len(run.splits.hidden_digests()), run.notes

    has_test, digests, notes = in_child(look)
    assert not has_test and digests == 3
    assert ("in test or evaluate.extra 3" in notes[0]) == ("in validation 5" in notes[0]) == result
