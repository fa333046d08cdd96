"""Rows are split off by class, with groups intact."""

from collections import Counter
from typing import Any

import pytest

from tests.recipes.data.helpers import (
    ROWS,
    Write,
    all_rows_by_id,
    as_csv,
    grouped_rows,
    ids_of_splits,
    read,
    read_problems,
)


@pytest.mark.parametrize("fractions", [(0.1, 0.2), (0.15, 0.4), (0.5, 0.05)])
def test_one_file_is_split_by_the_given_fractions_in_each_class(fractions: tuple[float, float], write: Write) -> None:
    train = write("a.csv", as_csv(grouped_rows(), header=("text", "label", "user")))
    splits = read(train, validation_fraction=fractions[0], test_fraction=fractions[1])
    ids = ids_of_splits(splits)
    assert [len(part) for part in ids] == [
        1000 - sum(round(1000 * fraction) for fraction in fractions),
        *(round(1000 * fraction) for fraction in fractions),
    ]
    assert sorted(sum(ids, []), key=int) == [str(number) for number in range(1000)]
    assert all(part == sorted(part, key=int) for part in ids)
    for rows, fraction in ((splits.validation, fractions[0]), (splits.test, fractions[1])):
        assert rows is not None
        counts = Counter(rows["label"])
        for label, count in (("a", 700), ("b", 250), ("c", 50)):
            assert abs(counts[label] - count * fraction) < 1.5


def test_rows_keep_their_ids_texts_and_labels(write: Write) -> None:
    rows = grouped_rows(200)
    splits = read(write("a.csv", as_csv(rows, header=("text", "label", "user"))))
    assert all_rows_by_id(splits) == {str(number): (text, label) for number, (text, label, _) in enumerate(rows)}


@pytest.mark.parametrize("group", [None, "user"])
def test_the_split_depends_on_the_split_seed_only(group: str | None, write: Write) -> None:
    train = write("a.csv", as_csv(grouped_rows(), header=("text", "label", "user")))
    first = ids_of_splits(read(train, group=group))
    assert ids_of_splits(read(train, group=group)) == first
    other = ids_of_splits(read(train, group=group, split_seed=1))
    assert other != first
    assert len(set(first[2]) & set(other[2])) < 100


def test_groups_stay_together_and_classes_are_near_their_fraction(write: Write) -> None:
    rows = grouped_rows()
    splits = read(write("a.csv", as_csv(rows, header=("text", "label", "user"))), group="user")
    users = [{rows[int(number)][2] for number in part} for part in ids_of_splits(splits)]
    assert not users[0] & users[1] and not users[0] & users[2] and not users[1] & users[2]
    assert splits.test is not None
    for part, fraction in ((splits.validation, 0.1), (splits.test, 0.2)):
        counts = Counter(part["label"])
        assert abs(len(part) - 1000 * fraction) <= 16  # two groups
        for label, count in (("a", 700), ("b", 250), ("c", 50)):
            assert abs(counts[label] - count * fraction) <= 16


def test_a_few_large_groups_can_be_split(write: Write) -> None:
    rows = [("x", "ab"[number % 2], f"g{number % 3}") for number in range(60)]
    ids = ids_of_splits(read(write("a.csv", as_csv(rows, header=("text", "label", "user"))), group="user"))
    assert [len(part) for part in ids] == [20, 20, 20]


def test_only_missing_splits_are_split_off(write: Write) -> None:
    train = write("a.csv", as_csv(grouped_rows(), header=("text", "label", "user")))
    other = write("b.csv", as_csv([("x", "a")]))
    assert [len(part) for part in ids_of_splits(read(train, test=other))] == [900, 100, 1]
    assert [len(part) for part in ids_of_splits(read(train, validation=other))] == [800, 1, 200]


def test_a_rare_class_stays_in_training(write: Write) -> None:
    rows = [("x", "a")] * 50 + [(f"y{number}", f"rare{number}") for number in range(10)]
    for seed in range(5):
        splits = read(write("a.csv", as_csv(rows)), split_seed=seed)
        assert len(splits.classes) == 11


def test_multi_label_rows_are_stratified_by_their_rarest_label(write: Write) -> None:
    rows = [("x", "common|rare" if number % 10 == 0 else f"common|u{number}") for number in range(200)]
    splits = read(write("a.csv", as_csv(rows)), label_separator="|")
    assert splits.test is not None
    assert sum("rare" in names for names in splits.test["label"]) == 4
    assert len(splits.test) == 40


def test_too_few_rows_or_groups_are_refused(write: Write) -> None:
    assert read_problems(write("a.csv", as_csv(ROWS[:2])))[0].startswith(
        "2 rows of 2 classes are too few to split off 20%; "
    )
    rows = [("x", "ab"[number % 2], "one") for number in range(20)]
    train = write("b.csv", as_csv(rows, header=("text", "label", "user")))
    assert read_problems(train, group="user")[0].startswith("1 groups of 2 classes are too few to split off 20%; ")


def read_folds(write: Write, rows: list[tuple[str, ...]], count: int, **settings: Any) -> list[list[list[str]]]:
    """The ids of training, validation and test rows, by fold."""
    train = write("a.csv", as_csv(rows, header=("text", "label", "user")))
    return [ids_of_splits(read(train, fold=fold, **settings)) for fold in range(count)]


def test_each_row_outside_test_is_in_the_validation_split_of_one_fold(write: Write) -> None:
    rows = grouped_rows()
    folds = read_folds(write, rows, 8)  # 80 % of the rows, in folds of 10 %
    assert {tuple(map(len, ids)) for ids in folds} == {(700, 100, 200)}
    _, _, test = ids_of_splits(read(write("a.csv", as_csv(rows, header=("text", "label", "user")))))
    assert all(ids[2] == test for ids in folds)
    validated = sorted((name for ids in folds for name in ids[1]), key=int)
    assert validated == sorted(set(validated), key=int) and len(validated) == 800 and not set(validated) & set(test)
    for train, validation, _ in folds:
        assert set(train) == set(validated) - set(validation) and train == sorted(train, key=int)
        counts = Counter(rows[int(name)][1] for name in validation)
        assert all(abs(counts[label] - expected) < 1.5 for label, expected in (("a", 70), ("b", 25), ("c", 5)))


def test_the_folds_depend_on_the_split_seed_only(write: Write) -> None:
    first, again, other = (read_folds(write, grouped_rows(), 2, split_seed=seed) for seed in (0, 0, 1))
    assert first == again and first[0][1] != other[0][1]


def test_a_group_is_in_one_fold(write: Write) -> None:
    rows = grouped_rows()
    for train, validation, test in read_folds(write, rows, 4, group="user", validation_fraction=0.2):
        users = [{rows[int(name)][2] for name in part} for part in (train, validation, test)]
        assert not users[0] & users[1] and not users[1] & users[2] and abs(len(validation) - 200) <= 32


def test_a_class_of_one_row_is_in_the_training_rows_of_every_fold(write: Write) -> None:
    rows = [("x", "ab"[number % 2], "u") for number in range(80)] + [("rare", "c", "u")]
    test = write("b.csv", as_csv([("x", "a")]))
    for train, validation, _ in read_folds(write, rows, 10, test=test):
        assert "80" in train and len(validation) in (8, 9)


def test_too_few_rows_for_the_folds_are_refused(write: Write) -> None:
    rows = [("x", "ab"[number % 2]) for number in range(12)]
    (problem,) = read_problems(write("a.csv", as_csv(rows)), fold=1)
    assert problem.startswith("data.fold=1, one of 8: 10 training rows, or groups of rows, are too few ")
