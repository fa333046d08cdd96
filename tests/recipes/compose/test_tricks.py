"""From settings to tricks: all mistakes at once, each with its path."""

from typing import Any

import pytest

from recipes.compose.tricks import build
from recipes.compose.trust import trusting
from recipes.errors import UserError

FOCAL = {"_target_": "tricks.in_training.focal.Focal", "gamma": 2.0, "scheme": "none", "beta": 0.999, "values": {}}


def problems_of(values: dict[str, dict[str, Any]]) -> list[str]:
    with pytest.raises(UserError) as caught:
        build(values)
    return list(caught.value.problems)


def test_a_trick_has_the_name_it_is_selected_by() -> None:
    tricks = build({"mine": FOCAL})
    assert list(tricks) == ["mine"] and tricks["mine"].name == "mine"
    assert FOCAL["_target_"], "the values stay as they are"


def test_tricks_are_in_the_order_of_their_names() -> None:
    smoothing = {"_target_": "tricks.in_training.label_smoothing.LabelSmoothing", "amount": 0.1}
    assert list(build({"smoothing": smoothing, "focal": FOCAL})) == ["focal", "smoothing"]


def test_all_mistakes_are_reported_at_once() -> None:
    with trusting(["nowhere.Trick", "pathlib.Path"]):
        problems = problems_of(
            {
                "a": {**FOCAL, "gamma": -1.0},
                "b": {"gamma": 1.0},
                "c": {"_target_": "nowhere.Trick"},
                "d": {"_target_": "pathlib.Path"},
                "e": {**FOCAL, "gama": 1.0},
                "f": {"_target_": "nobody.Trick"},
            }
        )
    starts = [
        "tricks.a.gamma must be a number in [0, inf), got -1.0.",
        "tricks.b has values but is not selected; add '+tricks=[b]'.",
        "tricks.c._target_=nowhere.Trick cannot be imported",
        "tricks.d._target_=pathlib.Path is not a recipes.Trick.",
        "tricks.e.gama does not exist; did you mean gamma?",
        "tricks.f._target_=nobody.Trick is not trusted, so it is not imported",
    ]
    assert [problem.startswith(start) for problem, start in zip(problems, starts, strict=True)] == [True] * 6, problems


def test_two_tricks_of_one_slot_are_refused() -> None:
    (problem,) = problems_of({"one": FOCAL, "two": FOCAL})
    assert "tricks one and two both fill loss/criterion" in problem
