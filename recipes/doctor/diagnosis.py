"""What the doctor found, for Python: the findings, as text, as a frame and as HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from recipes.doctor.findings import Finding, Report
from recipes.doctor.render import report_lines, verdict
from recipes.reports.health import describe_headline
from recipes.reports.notebook import findings_html


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """The findings of the doctor on a config and its data, or on a finished run."""

    report: Report
    """The result of each check, also of those that found nothing or were skipped."""
    health: Mapping[str, Any] | None = None
    """Of a finished run: its headline, and the comparison with its baselines."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What was found, in the order of the checks; each has a severity, a message and a remedy."""
        return self.report.findings

    @property
    def is_clean(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return self.report.exit_code == 0

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        return f"health: {describe_headline(self.health)}" if self.health else verdict(self.report)

    def to_frame(self) -> Any:
        """The findings as a pandas DataFrame, a row each."""
        import pandas as pd

        columns = ["severity", "check", "message", "consequence", "remedy", "rows"]
        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=columns)

    def __repr__(self) -> str:
        return "\n".join([*report_lines(self.report), self.headline])

    def _repr_html_(self) -> str:
        return findings_html(self.headline, map(asdict, self.findings))
