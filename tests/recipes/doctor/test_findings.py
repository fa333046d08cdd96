"""Results of checks: outcomes, exit codes, and the JSON format."""

import json

import pytest

from recipes.doctor.findings import EVIDENCE, CheckResult, Finding, Report


def make_result(*severities: str) -> CheckResult:
    result = CheckResult("data", "duplicates", "No text occurs twice.")
    add = {"note": result.note, "warning": result.warn, "error": result.fail}
    for severity in severities:
        add[severity](f"a {severity}", "harm", "a remedy")
    return result


@pytest.mark.parametrize(
    ("severities", "outcome", "exit_code"),
    [
        ((), "ok", 0),
        (("note",), "note", 0),
        (("note", "warning"), "warning", 1),
        (("warning", "note"), "warning", 1),
        (("note", "error", "warning"), "error", 2),
        (("warning", "error", "note"), "error", 2),
    ],
)
def test_the_outcome_is_the_worst_severity(severities: tuple[str, ...], outcome: str, exit_code: int) -> None:
    result = make_result(*severities)
    assert result.outcome == outcome
    assert Report([make_result(), result]).exit_code == exit_code
    assert [finding.severity for finding in Report([make_result(), result]).findings] == list(severities)


def test_a_skipped_check_has_no_other_outcome() -> None:
    result = make_result("note")
    result.skipped = "there is one row only"
    assert result.outcome == "skipped"


def test_a_finding_lists_only_the_first_rows() -> None:
    result = CheckResult("data", "duplicates", "")
    result.warn("rows leak.", "high scores", "split again", [str(row) for row in range(EVIDENCE + 3)])
    rows = [str(row) for row in range(EVIDENCE)]
    assert result.findings == [Finding("duplicates", "warning", "rows leak.", "high scores", "split again", rows)]


def test_the_keys_of_the_json_format_are_stable() -> None:
    result = make_result("warning")
    result.add_inspected(1200, "rows of test")
    report = json.loads(json.dumps(Report([result]).as_json()))
    assert list(report) == ["format", "exit_code", "checks"] and (report["format"], report["exit_code"]) == (2, 1)
    (check,) = report["checks"]
    finding = {"check": "duplicates", "severity": "warning", "message": "a warning"}
    finding |= {"consequence": "harm", "remedy": "a remedy", "rows": []}
    finding |= {"name": "", "figure": None, "limit": None}
    assert list(check.items()) == [
        ("section", "data"),
        ("check", "duplicates"),
        ("about", "No text occurs twice."),
        ("seen", ["1,200 rows of test"]),
        ("findings", [finding]),
        ("skipped", None),
        ("outcome", "warning"),
    ]
