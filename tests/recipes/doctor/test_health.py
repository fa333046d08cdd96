"""The table of limits, and the headline that follows from the findings."""

import json
import math
from pathlib import Path

import pytest

from recipes.doctor.baselines import MAX_ROWS, MAX_WORK
from recipes.doctor.findings import CheckResult, Finding
from recipes.doctor.health import HEADLINES, LIMITS, NO_BASELINES, describe_divergence, judge, summarize


def findings_of(*names: str) -> list[Finding]:
    """A finding for each of these limits, in another order than that of the headlines."""
    result = CheckResult("after", "some_check", "")
    for name in reversed(names):
        limit = LIMITS[name]
        beyond = {"above": 1.0, "at least": 0.0, "below": -1.0, "at most": 0.0}[limit.direction]
        judge(result, name, limit.limit + beyond, "message", "consequence")
    return result.findings


def test_the_page_has_every_limit() -> None:
    page = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text(encoding="utf-8")
    for name, limit in LIMITS.items():
        assert f"| `{name}` | {limit.figure} | {limit.direction} {limit.limit:g} | {limit.remedy} |\n" in page
    assert f"at most {MAX_ROWS:,} rows" in page and f"exceed {MAX_WORK / 1e6:g} million" in page


@pytest.mark.parametrize("number", range(len(HEADLINES)))
def test_the_headline_is_the_first_finding_in_the_order_of_the_table(number: int) -> None:
    assert list(LIMITS)[: len(HEADLINES)] == list(HEADLINES)
    health = summarize(findings_of(*HEADLINES[number:]), NO_BASELINES)
    assert health["headline"] == HEADLINES[number]
    assert [finding["name"] for finding in health["findings"]] == list(HEADLINES[number:])


def test_a_run_without_a_headline_has_learned() -> None:
    others = [name for name in LIMITS if name not in HEADLINES]
    health = summarize(findings_of(*others), NO_BASELINES)
    assert health["headline"] == "learned" and len(health["findings"]) == len(others)
    unnamed = Finding("labels", "warning", "message", "consequence", "remedy")
    assert summarize([unnamed], NO_BASELINES) == {"headline": "learned", "findings": [], **NO_BASELINES}


@pytest.mark.parametrize(
    ("name", "just_right", "beyond"),
    [
        ("diverged", 2.0, 2.01),
        ("collapsed", 0.05, 0.049),
        ("not_better", 0.001, 0.0),
        ("memorized", 1.3, 1.31),
        ("best_at_end", 1, 0),
        ("never_predicted", 4, 5),
    ],
)
def test_a_figure_is_compared_with_the_limit_of_its_direction(name: str, just_right: float, beyond: float) -> None:
    result = CheckResult("after", "some_check", "")
    judge(result, name, just_right, "message", "consequence")
    assert not result.findings
    judge(result, name, beyond, "message", "consequence", rows=[str(row) for row in range(9)])
    (finding,) = result.findings
    assert (finding.check, finding.name, finding.figure) == ("some_check", name, beyond)
    assert (finding.limit, finding.severity) == (LIMITS[name].limit, LIMITS[name].severity)
    assert finding.remedy == LIMITS[name].remedy and len(finding.rows) == 5


def test_a_check_may_name_a_better_remedy_which_is_looked_for_only_if_it_is_needed() -> None:
    result = CheckResult("after", "some_check", "")
    judge(result, "memorized", 1.0, "message", "consequence", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    judge(result, "memorized", 2.0, "message", "consequence", lambda: "train.epochs=1")
    judge(result, "memorized", 2.0, "message", "consequence", lambda: "")
    assert [finding.remedy for finding in result.findings] == ["train.epochs=1", LIMITS["memorized"].remedy]


def test_a_divergence_is_described_without_figures() -> None:
    health = describe_divergence("training diverged: no finite gradient.")
    assert health["headline"] == "diverged" and health["against"] is None
    (finding,) = health["findings"]
    assert finding["message"] == "training diverged: no finite gradient." and finding["figure"] is None


def test_an_infinite_figure_is_null_in_json() -> None:
    result = CheckResult("after", "some_check", "")
    judge(result, "diverged", math.inf, "message", "consequence")
    assert json.loads(json.dumps(summarize(result.findings, NO_BASELINES)))["findings"][0]["figure"] is None
