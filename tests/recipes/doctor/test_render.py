"""A report as a table and as lines."""

import pytest

from recipes.doctor.findings import CheckResult, Finding, Report
from recipes.doctor.render import describe, quote_names, report_lines, report_table, shorten, verdict
from recipes.reports.tables import console_for_tables


@pytest.fixture
def report() -> Report:
    result = CheckResult("data", "duplicates", "About duplicates.")
    result.add_inspected(1200, "rows of test")
    result.note("3 rows repeat another one.")
    result.warn("331 rows leak.", "scores are too high", "+tricks=[deduplicate]", [str(row) for row in range(9)])
    skipped = CheckResult("data", "pairs", "About pairs.", skipped="data.text_pair is not set")
    return Report([result, skipped])


def test_lines_have_the_findings_worst_first_and_the_verdict(report: Report) -> None:
    assert list(report_lines(report)) == [
        "duplicates: warning: 331 rows leak. Rows: 0, 1, 2, 3, 4. Leads to: scores are too high. "
        "Do: +tricks=[deduplicate].",
        "duplicates: note: 3 rows repeat another one.",
    ]
    assert verdict(report) == "verdict: ready to train, with warnings (1 warning, 1 skipped)."


@pytest.mark.parametrize(
    ("severity", "expected"), [("note", "clean (1 note)."), ("fail", "fix the errors before training (1 error).")]
)
def test_the_verdict_follows_the_worst_finding(severity: str, expected: str) -> None:
    result = CheckResult("data", "texts", "")
    getattr(result, severity)("a message.", "a consequence", "a remedy")
    assert verdict(Report([result])) == f"verdict: {expected}"


def test_the_table_has_inspected_items_and_reasons_for_skipping(report: Report) -> None:
    console = console_for_tables()
    with console.capture() as output:
        console.print(report_table(report))
    assert "1,200 rows of test" in output.get() and "data.text_pair is not set" in output.get()


def test_a_remedy_that_is_a_question_gets_no_full_stop() -> None:
    assert describe(Finding("metric", "note", "high.", "", "is it leaked?")) == "note: high. Do: is it leaked?"


def test_long_texts_and_lists_of_names_are_shortened() -> None:
    assert (shorten("abc", 3), shorten("abcd", 3)) == ("'abc'", "'abc…'")
    assert (quote_names(["a", "b"], 2), quote_names(["a", "b", "c"], 2)) == ("'a', 'b'", "'a', 'b' and 1 more")
