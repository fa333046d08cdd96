"""A run's page: the answer first, what to do next by severity, and runs of every kind."""

import re
from typing import Any

import pytest

from recipes.reports.document import Answer, Figures, Part, Steps, as_html
from recipes.reports.run_parts import run_parts
from tests.recipes.reports.pages import HEALTH, answers, check_page, finding, make_run

LABELS = list("xxxxyyyy")
VALIDATION = answers(LABELS, list("xxxxyyxx"), "xy")
TEST = answers(LABELS, list("xxxyyyyy"), "xy")


def parts_of(**changed: Any) -> list[Part]:
    return run_parts(make_run("one", {"validation": VALIDATION, "test": TEST}, **changed))


def steps_of(parts: list[Part]) -> list[str]:
    (steps,) = (part for part in parts if isinstance(part, Steps))
    return [step.action for step in steps.items]


def test_the_answer_is_the_score_the_baselines_and_the_health() -> None:
    parts = parts_of()
    figures, answer = parts[0], parts[2]
    assert isinstance(figures, Figures) and isinstance(answer, Answer)
    (label, number, _), (compared, difference, interval), (_, majority, _) = figures.items
    assert (label, number) == ("accuracy on 8 test rows", "0.8750")
    assert compared == "compared with the linear baseline, on validation"
    assert (difference, majority) == ("+0.1250", "0.5000") and interval.startswith("+0.0250 to +0.2250")
    assert (answer.tone, answer.headline) == ("good", "Health: it learned")
    assert answer.text == (
        "It is better than the linear baseline: +0.1250 accuracy on validation, 95 % interval +0.0250 to +0.2250 "
        "(paired, better is positive)."
    )
    text = as_html("one", parts)
    check_page(text)
    rows = re.findall(r'<text class="name"[^>]*>([^<]*)</text><text class="name end"[^>]*>([^<]*)<', text)
    assert rows == [
        ("majority class, validation", "0.5000"),
        ("linear baseline, validation", "0.6250"),
        ("this run, validation", "0.7500"),
        ("this run, test", "0.8750"),
    ]


@pytest.mark.parametrize(
    ("code", "low", "high", "headline", "words"),
    [
        ("learned", 0.1, 0.2, "it learned", "It is better than"),
        ("not_better", -0.2, -0.1, "worse than the baseline", "It is worse than"),
        ("not_better", -0.1, 0.1, "not shown to be better than the baseline", "It is not shown to be better"),
    ],
)
def test_a_difference_is_claimed_where_its_interval_excludes_0(
    code: str, low: float, high: float, headline: str, words: str
) -> None:
    against = {**HEALTH["against"], "low": low, "high": high}
    answer = parts_of(health={**HEALTH, "headline": code, "against": against})[2]
    assert isinstance(answer, Answer) and answer.text.startswith(words)
    assert answer.headline == f"Health: {headline}"


@pytest.mark.parametrize("headline", ["diverged", "collapsed"])
def test_a_broken_run_says_so_before_its_score_and_is_not_advised_for_use(headline: str) -> None:
    parts = parts_of(health={**HEALTH, "headline": headline, "findings": [finding(headline, "error", "train better")]})
    assert isinstance(parts[0], Answer) and parts[0].tone == "error"
    assert steps_of(parts) == ["Train better"]


def test_what_to_do_next_begins_with_the_worst_finding() -> None:
    findings = [
        finding("best_at_end", "note", "train.max_updates=80"),
        finding("memorized", "warning", "a shorter run"),
    ]
    findings.append(finding("confident_errors", "note", "scripts/report.py shows them"))
    assert steps_of(parts_of(health={**HEALTH, "findings": findings}))[:4] == [
        "A shorter run",
        "train.max_updates=80",
        "Read them under “Errors to read”",
        "Predict a file with it.",
    ]


def test_one_remedy_of_two_findings_is_one_step() -> None:
    findings = [finding(name, "warning", "trickbook doctor x") for name in ("split_gap", "memorized")]
    steps = next(part for part in parts_of(health={**HEALTH, "findings": findings}) if isinstance(part, Steps))
    assert steps.items[0].action == "trickbook doctor x"
    assert steps.items[0].reason == "The split_gap of it. It is bad. The memorized of it. It is bad."


def test_a_run_of_an_earlier_version_is_shown_without_health() -> None:
    parts = parts_of(health=None, versions=None)
    answer = next(part for part in parts if isinstance(part, Answer))
    assert answer.headline == "Health: unknown" and steps_of(parts)[0] == "Examine it."
    check_page(as_html("old", parts))


def test_an_early_stop_is_part_of_the_answer() -> None:
    stop = {
        "update": 30,
        "planned_updates": 90,
        "evaluations_since_best": 2,
        "metric": "accuracy",
        "best": 0.75,
        "best_update": 10,
    }
    answer = next(part for part in parts_of(early_stop=stop) if isinstance(part, Answer))
    assert "Early stop after update 30 of 90: 2 evaluations in a row did not improve accuracy." in answer.text


def test_scores_by_class_next_to_the_scores_are_no_scores() -> None:
    scores = {"accuracy": 0.875, "classes": {"x": {"precision": 1.0}}}
    text = as_html("one", parts_of(test=scores))
    assert ">accuracy<" in text and ">classes<" not in text


def test_rows_without_labels_leave_the_scores_of_validation() -> None:
    unlabelled = answers([None] * 8, list("xxxxyyyy"), "xy")
    run = make_run("one", {"validation": VALIDATION, "test": unlabelled}, test={})
    assert "accuracy on 8 validation rows" in as_html("one", run_parts(run))


def test_a_run_that_diverged_has_a_page_without_scores() -> None:
    run = make_run("one", {"validation": VALIDATION})
    health = {
        **HEALTH,
        "headline": "diverged",
        "findings": [finding("diverged", "error", "slow down")],
        "against": None,
    }
    run.__dict__ |= {"metrics": {"format": 4, "health": health}, "splits": []}
    parts = run_parts(run)
    assert isinstance(parts[0], Answer) and parts[0].headline == "Health: training diverged"
    assert steps_of(parts) == ["Slow down"]
    text = as_html("one", parts)
    check_page(text)
    assert "<title>Training loss</title>" in text and "Scores" not in text


def test_weights_to_choose_from_are_compared_where_there_was_a_choice() -> None:
    candidates = {"last": {"accuracy": 0.5, "loss": 0.7}, "best": {"accuracy": 0.75, "loss": 0.6, "update": 20}}
    text = as_html("one", parts_of(candidates=candidates))
    assert "Weights to choose from, on validation. Chosen: best." in text and ">loss ↓<" in text
    assert "Weights to choose from" not in as_html("one", parts_of(candidates={"last": {"accuracy": 0.5}}))


def test_a_metric_without_a_value_says_why() -> None:
    unscored = {
        "validation": {"roc_auc": "roc_auc needs two classes."},
        "test": {"roc_auc": "roc_auc needs two classes."},
    }
    assert as_html("one", parts_of(unscored=unscored)).count("roc_auc needs two classes.") == 1
