"""The health of a run in words."""

from recipes.doctor.health import HEADLINES as FOUND
from recipes.doctor.health import LEARNED
from recipes.reports.health import HEADLINES, describe_early_stop, describe_headline, describe_health, name_headline

AGAINST = {"baseline": "linear", "metric": "accuracy", "difference": 0.031, "low": 0.008, "high": 0.054}
FINDING = {
    "name": "memorized",
    "severity": "warning",
    "message": "It rose.",
    "consequence": "harm",
    "remedy": "fewer epochs",
    "rows": ["7"],
}
STOP = {
    "update": 120,
    "planned_updates": 600,
    "metric": "accuracy",
    "best": 0.9132,
    "best_update": 60,
    "evaluations_since_best": 3,
}


def test_every_headline_has_its_words() -> None:
    assert list(HEADLINES) == [*FOUND, LEARNED]


def test_the_headline_has_the_comparison_with_the_baseline() -> None:
    assert describe_headline({"headline": "learned", "against": AGAINST}) == (
        "it learned. accuracy against the linear baseline: +0.0310 (95 % interval +0.0080 to +0.0540, better is "
        "positive)."
    )
    assert describe_headline({"headline": "diverged", "against": None}) == "training diverged."


def test_a_run_whose_interval_is_below_0_is_worse() -> None:
    below = {**AGAINST, "difference": -0.2, "low": -0.3, "high": -0.1}
    assert describe_headline({"headline": "not_better", "against": below}) == (
        "worse than the baseline. accuracy against the linear baseline: -0.2000 (95 % interval -0.3000 to -0.1000, "
        "better is positive)."
    )
    for against in ({**below, "high": 0.0}, None):
        assert name_headline({"headline": "not_better", "against": against}) == HEADLINES["not_better"]
    # A run that is broken says that first.
    assert name_headline({"headline": "collapsed", "against": below}) == HEADLINES["collapsed"]


def test_all_that_is_stored_is_shown() -> None:
    health = {"headline": "memorized", "findings": [FINDING], "against": None}
    assert list(describe_health({"health": health, "early_stop": STOP})) == [
        describe_early_stop(STOP),
        "health: the training rows are memorized.",
        "warning: It rose. Leads to: harm. Do: fewer epochs.",
    ]
    assert list(describe_health({"format": 3})) == []


def test_an_early_stop_is_a_sentence() -> None:
    assert describe_early_stop(STOP) == (
        "early stop after update 120 of 600: 3 evaluations in a row did not improve accuracy. The best, 0.9132, was "
        "after update 60."
    )
    assert "600: 1 evaluation in a row" in describe_early_stop({**STOP, "evaluations_since_best": 1})
