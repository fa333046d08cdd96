"""Showing a report as a table and as lines of text."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from recipes.doctor.findings import SECTIONS, Finding, Report
from recipes.errors import list_names
from recipes.findings import SEVERITIES
from recipes.reports.formats import shorten_text

LONGEST = 60
"""Characters of a text that a finding shows."""
STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red", "skipped": "dim"}


def report_table(report: Report) -> Table:
    """A table with a row for each check: the items it inspected, or why it was skipped, and its outcome."""
    table = Table(title_justify="left", show_lines=False)
    for name in ("section", "check", "inspected", "outcome"):
        table.add_column(name)
    for section in SECTIONS:
        for result in (each for each in report.results if each.section == section):
            outcome = result.outcome
            items = result.skipped if result.skipped is not None else ", ".join(result.inspected)
            table.add_row(section, result.check, escape(items), f"[{STYLES[outcome]}]{outcome}[/]")
    return table


def shorten(text: str, most: int = LONGEST) -> str:
    """Quote a text and cut it after `most` characters."""
    return repr(shorten_text(text, most))


def quote_names(names: Sequence[str], most: int = 5) -> str:
    """Quote the first `most` names and count the rest."""
    return list_names(names, most)


def describe(finding: Finding) -> str:
    """A finding as one paragraph."""
    parts = [f"{finding.severity}: {finding.message}"]
    if finding.rows:
        parts.append(f"Rows: {', '.join(finding.rows)}.")
    if finding.consequence:
        parts.append(f"Leads to: {finding.consequence}.")
    if finding.remedy:
        parts.append(f"Do: {finding.remedy}{'' if finding.remedy.endswith('?') else '.'}")
    return " ".join(parts)


def report_lines(report: Report) -> Iterator[str]:
    """Yield the findings, worst first."""
    for severity in SEVERITIES:
        for finding in (each for each in report.findings if each.severity == severity):
            yield f"{finding.check}: {describe(finding)}"


def verdict(report: Report) -> str:
    """The last line of the report on a run that is not trained yet."""
    outcomes = Counter(result.outcome for result in report.results)
    counts = ", ".join(f"{outcomes[name]} {name}" for name in STYLES if outcomes[name])
    verdicts = ("clean", "ready to train, with warnings", "fix the errors before training")
    return f"verdict: {verdicts[report.exit_code]} ({counts})."
