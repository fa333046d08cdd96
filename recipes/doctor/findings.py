"""What a check is, and what it may say."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SECTIONS = ("config", "data", "model", "tricks", "learning", "after")
"""In the order in which a run's parts are looked at: what is cheap and what others rest on first."""
EVIDENCE = 5
"""Rows that a finding names."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    check: str
    severity: str
    """note, warning or error."""
    message: str
    """What is wrong, with the evidence."""
    consequence: str
    """What comes of it."""
    remedy: str
    """The override or edit that mends it."""
    rows: Sequence[str] = ()
    """Ids of the rows that show it."""


class Skip(Exception):
    """Raised by a check that cannot look, with the reason."""


@dataclass
class CheckResult:
    """What one check looked at and found."""

    section: str
    check: str
    about: str
    """What the check is about, in a sentence."""
    seen: list[str] = field(default_factory=list)
    """How many items of what were inspected."""
    findings: list[Finding] = field(default_factory=list)
    skipped: str | None = None
    """Why the check could not look."""

    def at(self, count: int, what: str) -> None:
        """Say that so many of something were inspected."""
        self.seen.append(f"{count:,} {what}")

    def note(self, message: str, consequence: str = "", remedy: str = "", rows: Sequence[str] = ()) -> None:
        """Add what is worth knowing and needs no change."""
        self._add("note", message, consequence, remedy, rows)

    def warn(self, message: str, consequence: str, remedy: str, rows: Sequence[str] = ()) -> None:
        """Add what probably harms."""
        self._add("warning", message, consequence, remedy, rows)

    def fail(self, message: str, consequence: str, remedy: str, rows: Sequence[str] = ()) -> None:
        """Add what certainly harms."""
        self._add("error", message, consequence, remedy, rows)

    def _add(self, severity: str, message: str, consequence: str, remedy: str, rows: Sequence[str]) -> None:
        self.findings.append(Finding(self.check, severity, message, consequence, remedy, list(rows)[:EVIDENCE]))

    @property
    def outcome(self) -> str:
        """ok, note, warning, error, or skipped where nothing was inspected."""
        if self.skipped is not None:
            return "skipped"
        return next((name for name in ("error", "warning", "note") if self._has(name)), "ok")

    def _has(self, severity: str) -> bool:
        return any(finding.severity == severity for finding in self.findings)


@dataclass(frozen=True)
class Report:
    """What an examination found."""

    results: Sequence[CheckResult]

    @property
    def findings(self) -> list[Finding]:
        """All findings, in the order of the checks."""
        return [finding for result in self.results for finding in result.findings]

    @property
    def exit_code(self) -> int:
        """0: nothing to mend; 1: warnings; 2: errors."""
        severities = {finding.severity for finding in self.findings}
        return 2 if "error" in severities else 1 if "warning" in severities else 0

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        results = [{**asdict(result), "outcome": result.outcome} for result in self.results]
        return {"format": 2, "exit_code": self.exit_code, "checks": results}
