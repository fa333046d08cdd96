"""How a report is shown."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.table import Table

from recipes.doctor.findings import SECTIONS, Finding, Report
from recipes.errors import list_names

LONGEST = 60
"""Characters of a text that a finding shows."""
STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red", "skipped": "dim"}


def table(report: Report) -> Table:
    """A row for each check: what it looked at, and what came of it."""
    shown = Table(title_justify="left", show_lines=False)
    for name in ("section", "check", "looked at", "outcome"):
        shown.add_column(name)
    for section in SECTIONS:
        for result in (each for each in report.results if each.section == section):
            outcome = result.outcome
            seen = result.skipped if result.skipped is not None else ", ".join(result.seen)
            shown.add_row(section, result.check, seen, f"[{STYLES[outcome]}]{outcome}[/]")
    return shown


def short(text: str, most: int = LONGEST) -> str:
    """A text in quotes, cut where it is long."""
    return repr(text if len(text) <= most else f"{text[:most]}…")


def quote_names(names: Sequence[str], most: int = 5) -> str:
    """Names in quotes, the first few of them."""
    return list_names(names, most)


def describe(finding: Finding) -> str:
    """A finding as a paragraph."""
    parts = [f"{finding.severity}: {finding.message}"]
    if finding.rows:
        parts.append(f"Rows: {', '.join(finding.rows)}.")
    if finding.consequence:
        parts.append(f"Leads to: {finding.consequence}.")
    if finding.remedy:
        parts.append(f"Do: {finding.remedy}{'' if finding.remedy.endswith('?') else '.'}")
    return " ".join(parts)


def lines(report: Report) -> Iterator[str]:
    """What was found, worst first, then the verdict."""
    for severity in ("error", "warning", "note"):
        for finding in (each for each in report.findings if each.severity == severity):
            yield f"{finding.check}: {describe(finding)}"
    counts = Counter(result.outcome for result in report.results)
    told_counts = ", ".join(f"{counts[name]} {name}" for name in STYLES if counts[name])
    verdict = ("clean", "train, but look at the warnings", "do not train before the errors are mended")
    yield f"verdict: {verdict[report.exit_code]} ({told_counts})."
