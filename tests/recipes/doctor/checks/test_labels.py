"""Which labels the doctor doubts, from probabilities that are written down."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from recipes.doctor.checks.labels import label_errors
from recipes.doctor.findings import CheckResult, Finding, Skip
from recipes.doctor.linear_probe import LinearProbe

COMMON = [0.95] * 20 + [0.30, 0.48]
"""How probable `common` is on the rows with that label."""
RARE = [0.65] * 3 + [0.55, 0.15, 0.03]
"""How probable `rare` is on the rows with that label."""


def findings(common: Sequence[float], rare: Sequence[float], score: float = 0.9) -> list[Finding]:
    """Of two classes; a row's id is its label and its place among the rows with that label."""
    shares = np.array([[share, 1 - share] for share in common] + [[1 - share, share] for share in rare])
    labels = ["common"] * len(common) + ["rare"] * len(rare)
    ids = [f"common {place}" for place in range(len(common))] + [f"rare {place}" for place in range(len(rare))]
    rows = Dataset.from_dict({"id": ids, "text": [f"text of {name}" for name in ids]})
    subject: Any = SimpleNamespace(
        linear_probe=LinearProbe(rows, rows["text"][:], labels, ["common", "rare"], score, shares)
    )
    look = CheckResult("data", "label_errors", "")
    label_errors(subject, look)
    return look.findings


def test_exactly_the_doubtful_rows_of_imbalanced_classes_are_named_the_worst_first() -> None:
    """A class is sure above its own mean: common 0.899 (over all rows its mean is 0.825), rare 0.447.

    So common at 0.85 is not sure on a row of rare; rare at 0.70 is on a row of common, and so is rare at 0.52.
    """
    (found,) = findings(COMMON, RARE)
    assert (found.severity, found.message) == ("note", "3 of 28 labels are worth a second look.")
    assert found.rows == ["rare 5", "common 20", "common 21"]


def test_an_answer_of_less_than_a_half_doubts_nothing() -> None:
    """Rare at 0.48 is above the mean of its class, and yet the label is more probable."""
    (found,) = findings([*COMMON[:-1], 0.52], RARE)
    assert found.rows == ["rare 5", "common 20"]


def test_many_doubtful_rows_are_a_warning_that_names_the_worst() -> None:
    (found,) = findings([0.9] * 10 + [0.2], [0.8] * 5 + [0.05, 0.02])
    assert found.severity == "warning" and found.rows == ["rare 6", "rare 5", "common 10"]
    assert found.message == ("3 of 18 labels look wrong, most of all 'text of rare 6' as 'rare' ('common' at 98%).")


def test_what_knows_too_little_doubts_nothing() -> None:
    with pytest.raises(Skip, match="knows too little"):
        findings(COMMON, RARE, score=0.74)
