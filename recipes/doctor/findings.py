"""The results of checks: findings, one result per check, and the report of all of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from recipes.findings import SEVERITIES

SECTIONS = ("config", "data", "model", "tricks", "learning", "after")
"""The order in which checks run: cheap ones first, and those that others depend on before them."""
EVIDENCE = 5
"""At most this many row ids are kept in a finding."""


@dataclass(frozen=True)
class Finding:
    """A problem, or a fact worth knowing."""

    check: str
    severity: str
    """note, warning or error."""
    message: str
    """The problem, with the evidence."""
    consequence: str
    """What the problem leads to."""
    remedy: str
    """The override or edit that fixes it."""
    rows: Sequence[str] = ()
    """Ids of rows that show the problem."""
    name: str = ""
    """Of its limit in `recipes.doctor.health.LIMITS`, if it has one."""
    figure: float | None = None
    """The value that was compared with the limit; None if it was inf."""
    limit: float | None = None


class Skip(Exception):
    """Raised by a check that cannot run, with the reason."""


@dataclass
class CheckResult:
    """What one check inspected and found."""

    section: str
    check: str
    description: str
    """The subject of the check, in a sentence."""
    inspected: list[str] = field(default_factory=list)
    """How many items of which kind were inspected."""
    findings: list[Finding] = field(default_factory=list)
    skipped: str | None = None
    """Why the check could not run."""

    def add_inspected(self, count: int, items: str) -> None:
        """Record that `count` items were inspected, such as `add_inspected(120, "rows of test")`."""
        self.inspected.append(f"{count:,} {items}")

    def note(self, message: str, consequence: str = "", remedy: str = "", rows: Sequence[str] = ()) -> None:
        """Add a fact that is worth knowing and needs no change."""
        self._add("note", message, consequence, remedy, rows)

    def warn(self, message: str, consequence: str, remedy: str, rows: Sequence[str] = ()) -> None:
        """Add a problem that is probably harmful."""
        self._add("warning", message, consequence, remedy, rows)

    def fail(self, message: str, consequence: str, remedy: str, rows: Sequence[str] = ()) -> None:
        """Add a problem that is certainly harmful."""
        self._add("error", message, consequence, remedy, rows)

    def _add(self, severity: str, message: str, consequence: str, remedy: str, rows: Sequence[str]) -> None:
        self.findings.append(Finding(self.check, severity, message, consequence, remedy, list(rows)[:EVIDENCE]))

    @property
    def outcome(self) -> str:
        """The worst severity among the findings, ok without findings, or skipped."""
        if self.skipped is not None:
            return "skipped"
        return next((severity for severity in SEVERITIES if self._has(severity)), "ok")

    def _has(self, severity: str) -> bool:
        return any(finding.severity == severity for finding in self.findings)


@dataclass(frozen=True)
class Report:
    """The results of all checks that ran."""

    results: Sequence[CheckResult]

    @property
    def findings(self) -> list[Finding]:
        """All findings, in the order of the checks."""
        return [finding for result in self.results for finding in result.findings]

    @property
    def exit_code(self) -> int:
        """0: nothing to fix; 1: warnings; 2: errors."""
        severities = {finding.severity for finding in self.findings}
        return 2 if "error" in severities else 1 if "warning" in severities else 0

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        # The keys are a file format that other programs read, so they do not follow the attributes' names.
        checks = [
            {
                "section": result.section,
                "check": result.check,
                "about": result.description,
                "seen": result.inspected,
                "findings": [asdict(finding) for finding in result.findings],
                "skipped": result.skipped,
                "outcome": result.outcome,
            }
            for result in self.results
        ]
        return {"format": 2, "exit_code": self.exit_code, "checks": checks}
