"""Folds of the training rows: stratified, with linked rows together and hidden splits excluded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from recipes.data.folds import Part, folds
from recipes.data.splits import Splits
from recipes.errors import UserError


def make_splits(
    labels: Sequence[Any], sources: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> Splits:
    ids = [str(row) for row in range(len(labels))]
    columns = {"id": ids, "source": sources or ids, "text": ids, "text_pair": [None] * len(ids), "label": labels}
    rows = Dataset.from_dict(columns)
    multi_label = isinstance(labels[0], list)
    classes = sorted({name for label in labels for name in (label if multi_label else [label])})
    return Splits(
        rows,
        rows.select([0]),
        rows.select([1]),
        classes,
        multi_label,
        {"more": rows.select([2])},
        groups=None if groups is None else np.array(groups),
    )


def make_folds(splits: Splits, count: int, seed: int) -> Iterator[Part]:
    return folds(splits, count, seed, "tricks.fusion.folds")


class TestFolds:
    def test_each_row_is_held_out_once(self) -> None:
        splits = make_splits("aab" * 20)
        parts = list(make_folds(splits, 5, 0))
        assert sorted(np.concatenate([part.held_out for part in parts])) == list(range(60))
        for number, part in enumerate(parts, 1):
            validation, train = set(part.splits.validation["id"]), set(part.splits.train["id"])
            assert part.number == number and not validation & train and len(validation | train) == 60
            assert Counter(part.splits.validation["label"]) == {"a": 8, "b": 4}
            assert list(part.splits.validation["id"]) == [str(row) for row in part.held_out]

    def test_the_seed_decides_the_folds(self) -> None:
        one, again, other = (list(make_folds(make_splits("aab" * 20), 3, seed)) for seed in (0, 0, 1))
        assert [part.held_out.tolist() for part in one] == [part.held_out.tolist() for part in again]
        assert [part.held_out.tolist() for part in one] != [part.held_out.tolist() for part in other]

    def test_hidden_splits_are_excluded_from_every_fold(self) -> None:
        for part in make_folds(make_splits("aab" * 20), 3, 0):
            assert part.splits.test is None and part.splits.extra == {}
            assert [list(rows["id"]) for rows in part.splits.excluded_rows] == [["0"], ["1"], ["2"]]
            # so that deduplicate finds rows of the data set's test split inside a fold
            assert len(part.splits.hide_test(lambda rows: rows).hidden_digests()) == 3

    @pytest.mark.parametrize("by", ["sources", "groups"])
    def test_rows_of_one_source_or_group_stay_together(self, by: str) -> None:
        together = [row // 3 for row in range(60)]
        splits = make_splits("aabb" * 15, **{by: list(map(str, together)) if by == "sources" else together})
        for part in make_folds(splits, 4, 0):
            validation = {together[row] for row in part.held_out}
            train = {together[int(name)] for name in part.splits.train["id"]}
            assert validation and not validation & train
            if by == "groups":
                assert [together[int(name)] for name in part.splits.train["id"]] == list(part.splits.groups)

    def test_groups_linked_by_a_source_stay_together(self) -> None:
        sources = [str(3 if row == 4 else row) for row in range(24)]  # rows 3 and 4, so groups 0 and 1
        for part in make_folds(make_splits("ab" * 12, sources=sources, groups=[row // 4 for row in range(24)]), 2, 0):
            validation = set(part.held_out)
            assert set(range(8)) <= validation or not set(range(8)) & validation

    def test_a_rare_label_is_in_every_fold_if_multi_label(self) -> None:
        splits = make_splits([["x"], ["x", "rare"], ["x"], ["x"], []] * 8)
        for part in make_folds(splits, 4, 0):
            assert sum("rare" in label for label in part.splits.validation["label"]) == 2

    def test_a_class_with_fewer_rows_than_folds_is_allowed(self) -> None:
        assert len(list(make_folds(make_splits([*"aab" * 20, "c"]), 5, 0))) == 5

    @pytest.mark.parametrize("groups", [None, [0] * 8])
    def test_too_few_rows_or_groups_are_refused(self, groups: list[int] | None) -> None:
        with pytest.raises(UserError, match=r"tricks\.fusion\.folds=9: .* are too few"):
            list(make_folds(make_splits("aabbaabb", groups=groups), 9, 0))

    def test_a_single_fold_has_all_rows(self) -> None:
        (part,) = make_folds(make_splits("aab"), 1, 0)
        assert part.held_out is None and len(part.splits.train) == 3 and list(part.splits.validation["id"]) == ["0"]
