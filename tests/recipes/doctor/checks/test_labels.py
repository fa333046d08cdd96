"""Checks of the labels: spelling, frequencies, and doubts that follow from fixed probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features, Value

from recipes.doctor.checks.labels import _find_shift, label_errors, label_spelling, labels, labels_of_splits
from recipes.doctor.findings import CheckResult, Finding, Skip
from recipes.doctor.linear_probe import LinearProbe
from recipes.testing import tiny_config

COMMON = [0.95] * 20 + [0.30, 0.48]
"""The probability of `common` on the rows with that label."""
RARE = [0.65] * 3 + [0.55, 0.15, 0.03]
"""The probability of `rare` on the rows with that label."""


def find_label_errors(common: Sequence[float], rare: Sequence[float], score: float = 0.9) -> list[Finding]:
    """Check rows of two classes. A row's id is its label and its index among the rows with that label."""
    probabilities = np.array([[each, 1 - each] for each in common] + [[1 - each, each] for each in rare])
    labels = ["common"] * len(common) + ["rare"] * len(rare)
    ids = [f"common {index}" for index in range(len(common))] + [f"rare {index}" for index in range(len(rare))]
    rows = Dataset.from_dict({"id": ids, "text": [f"text of {name}" for name in ids]})
    subject: Any = SimpleNamespace(
        linear_probe=LinearProbe(rows, rows["text"][:], labels, ["common", "rare"], score, probabilities)
    )
    result = CheckResult("data", "label_errors", "")
    label_errors(subject, result)
    return result.findings


def test_exactly_the_doubtful_rows_of_imbalanced_classes_are_listed_worst_first() -> None:
    """The threshold of a class is its mean on its own rows: common 0.899 (over all rows 0.825), rare 0.447.

    So common at 0.85 is below its threshold on a row of rare. Rare at 0.70 and at 0.52 is above its threshold.
    """
    (finding,) = find_label_errors(COMMON, RARE)
    assert (finding.severity, finding.message) == ("note", "3 of 28 labels are worth checking.")
    assert finding.rows == ["rare 5", "common 20", "common 21"]


def test_a_probability_below_a_half_is_no_doubt() -> None:
    """Rare at 0.48 is above the mean of its class, but the label itself is more probable."""
    (finding,) = find_label_errors([*COMMON[:-1], 0.52], RARE)
    assert finding.rows == ["rare 5", "common 20"]


def test_many_doubtful_rows_are_a_warning_with_the_worst_one() -> None:
    (finding,) = find_label_errors([0.9] * 10 + [0.2], [0.8] * 5 + [0.05, 0.02])
    assert finding.severity == "warning" and finding.rows == ["rare 6", "rare 5", "common 10"]
    assert finding.message == ("3 of 18 labels look wrong, most of all 'text of rare 6' as 'rare' ('common' at 98%).")


def test_an_inaccurate_probe_is_skipped() -> None:
    with pytest.raises(Skip, match="not accurate enough"):
        find_label_errors(COMMON, RARE, score=0.74)


def check_labels(counts: Mapping[str, Mapping[str | None, int]], **settings: Any) -> list[Finding]:
    """Check splits with these numbers of rows of each label."""
    rows_of_splits = {}
    for split, count_of_label in counts.items():
        column = [label for label, count in count_of_label.items() for _ in range(count)]
        features = Features({"id": Value("string"), "label": Value("string")})
        columns = {"id": list(map(str, range(len(column)))), "label": column}
        rows_of_splits[split] = Dataset.from_dict(columns, features)
    splits = SimpleNamespace(classes=["x", "y"], multi_label=False)
    config = SimpleNamespace(data=replace(tiny_config().data, **{"validation": None, **settings}))
    subject: Any = SimpleNamespace(splits=splits, rows_of_splits=rows_of_splits, config=config)
    result = CheckResult("data", "labels", "")
    labels(subject, result)
    return result.findings


@pytest.mark.parametrize(("count", "messages"), [(5, []), (4, ["'y': fewer than 5 training rows each."])])
def test_a_label_of_five_rows_is_not_rare(count: int, messages: list[str]) -> None:
    assert [finding.message for finding in check_labels({"train": {"x": 20, "y": count}})] == messages


def test_a_split_without_any_label_is_not_reported_for_absent_ones() -> None:
    train: Mapping[str | None, int] = {"x": 20, "y": 20}
    assert check_labels({"train": train, "test": {None: 9}}) == []
    (finding,) = check_labels({"train": train, "test": {"x": 9}})
    assert finding.message == "test has no row of 'y'."


def test_the_remedy_for_an_absent_label_fits_how_the_split_was_made() -> None:
    counts: Mapping[str, Mapping[str | None, int]] = {"train": {"x": 20, "y": 20}, "validation": {"x": 9}}
    (finding,) = check_labels(counts, validation="a.csv")
    assert finding.remedy == "split again, stratified: data.validation=null"
    (finding,) = check_labels(counts, validation=None, validation_fraction=0.1)
    assert finding.remedy == "add rows of them, or cut more rows off: a larger data.validation_fraction (now 0.1)"


def check_spelling(*classes: str) -> list[Finding]:
    subject: Any = SimpleNamespace(
        splits=SimpleNamespace(classes=list(classes), multi_label=False), config=tiny_config()
    )
    result = CheckResult("data", "label_spelling", "")
    label_spelling(subject, result)
    return result.findings


@pytest.mark.parametrize("names", [("pos", "Pos"), ("very good", "very_good"), ("pos", "p\u043es"), ("❤️", "❤")])
def test_labels_that_look_alike_are_one_warning(names: tuple[str, str]) -> None:
    (finding,) = check_spelling("neg", *names)
    assert finding.severity == "warning" and repr(names[1]) in finding.message


def test_numbers_next_to_names_are_a_warning_and_a_scale_is_none() -> None:
    (finding,) = check_spelling("0", "1", "x")
    assert finding.message == "'0', '1' are numbers, 'x' names."
    assert check_spelling("0", "1", "0.5") == check_spelling("9" * 5000, "0", "1") == []


def test_labels_that_are_made_of_others_are_a_warning() -> None:
    (finding,) = check_spelling("x", "y", "x;y", "a;b", "x;c")
    assert finding.message == "'x;y' is made of other labels, joined by ';'."
    assert finding.remedy.startswith("data.label_separator=';'")
    assert check_spelling("sci;space", "rec;autos") == []
    (finding,) = check_spelling("体育", "财经", "体育、财经")
    assert finding.message == "'体育、财经' is made of other labels, joined by '、'."
    assert finding.remedy.startswith("data.label_separator='、'")


@pytest.mark.parametrize("shift", [-1, 1])
def test_labels_that_stand_one_row_off_are_moved_back(shift: int) -> None:
    names = [str(name) for name in np.random.default_rng(0).choice(["x", "y"], 60)]
    moved = np.roll(names, -shift).tolist()
    rows = Dataset.from_dict(
        {"text": [f"word{name} common" for name in names], "text_pair": [None] * 60, "label": moved}
    )
    assert _find_shift(rows, 0.9) == (shift, 1.0)
    assert _find_shift(rows, 1.1) is None


def test_splits_that_are_too_small_for_a_comparison_are_skipped() -> None:
    names = ["common", "rare"] * 10
    rows = Dataset.from_dict({"id": list(map(str, range(20))), "text": names, "text_pair": [None] * 20, "label": names})
    probe = LinearProbe(rows, names, names, ["common", "rare"], 0.9, np.ones((20, 2)) / 2)
    splits = {"train": rows, "validation": rows.select(range(19))}
    subject: Any = SimpleNamespace(config=tiny_config(), linear_probe=probe, rows_of_splits=splits)
    with pytest.raises(Skip, match="fewer than 20 rows"):
        labels_of_splits(subject, CheckResult("data", "labels_of_splits", ""))
