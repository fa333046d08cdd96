"""Weights of classes: each scheme by hand, their mean over the training rows, and what is refused."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipes.data.encoding import class_counts
from recipes.errors import UserError
from recipes.toolkit.class_weights import class_weights, require_one_label

CLASSES = ["ham", "spam", "other"]


def run_of(labels: list[Any], multi_label: bool = False) -> Any:
    dataset = SimpleNamespace(labels=np.array(labels), num_classes=3)
    config = SimpleNamespace(tricks={})
    return SimpleNamespace(train=dataset, classes=CLASSES, multi_label=multi_label, config=config)


def weights(labels: list[Any], scheme: str, beta: float = 0.9, **values: float) -> list[float]:
    result: list[float] = class_weights(run_of(labels), scheme, beta, values, "tricks.x").tolist()
    return result


def test_rows_of_unknown_labels_count_for_no_class() -> None:
    assert class_counts(run_of([0, 0, 1, -1, 0]).train).tolist() == [3, 1, 0]


def test_multi_label_rows_count_for_each_label() -> None:
    assert class_counts(run_of([[1, 1, 0], [1, 0, 0]]).train).tolist() == [2, 1, 0]


def test_balanced_is_one_over_the_rows() -> None:
    assert weights([0, 0, 0, 1, 1, 2], "balanced") == pytest.approx([6 / 9, 1, 2])


def test_the_effective_number() -> None:
    # 1 - 0.5 ** (1, 2, 3) = 1/2, 3/4, 7/8, so 1, 2/3, 4/7 before they are scaled by 6 / (1 + 4/3 + 12/7).
    scale = 6 / (1 + 4 / 3 + 12 / 7)
    result = weights([0, 0, 0, 1, 1, 2], "effective_number", 0.5)
    assert result == pytest.approx([4 / 7 * scale, 2 / 3 * scale, scale])


def test_the_effective_number_runs_from_all_alike_to_balanced() -> None:
    assert weights([0, 0, 0, 1, 1, 2], "effective_number", 0.0) == [1, 1, 1]
    assert weights([0, 0, 0, 1, 1, 2], "effective_number", 1 - 1e-9) == pytest.approx([6 / 9, 1, 2])


def test_given_weights_are_scaled_too() -> None:
    assert weights([0, 0, 0, 1], "given", ham=1, spam=5, other=7) == pytest.approx([0.5, 2.5, 3.5])


def test_a_class_without_rows_weighs_as_one_with_one() -> None:
    assert weights([0, 0, 1], "balanced") == pytest.approx([0.75, 1.5, 1.5])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hamm": 1}, "tricks.x.values.hamm: there is no such class; did you mean ham? There are: ham, other, spam."),
        (
            {"ham": 1},
            "tricks.x.values: every class needs a weight; missing: spam, other; set tricks.x.values.spam=1.0, "
            "tricks.x.values.other=1.0.",
        ),
        ({"ham": 0}, "tricks.x.values.ham must be a number in (0, inf), got 0."),
        ({"ham": float("nan")}, "tricks.x.values.ham must be a number in (0, inf), got nan."),
    ],
)
def test_what_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        weights([0, 1, 2], "given", **values)
    assert str(caught.value) == message


def test_several_labels_are_refused_with_the_remedy() -> None:
    require_one_label(run_of([0, 1]), "tricks.x")
    with pytest.raises(UserError, match=r"^tricks\.x: rows have several labels here, .*; \+tricks=\[focal\] .*\.$"):
        require_one_label(run_of([[1, 0, 0]], multi_label=True), "tricks.x")
