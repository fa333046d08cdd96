"""The doctor: check a run's config, data, model, tricks and results, cheapest checks first.

    from recipes.doctor import examine
    report = examine(["data=files", "data.train=reviews.csv"])
    report.exit_code, [finding.message for finding in report.findings]

A check is a function of a `Subject` (`subject.py`) and a `CheckResult` (`findings.py`). It records how many items it
inspected and what it found. A check that cannot run is skipped, with the reason; it never counts as passed.
"""

from recipes.doctor.findings import CheckResult, Finding, Report
from recipes.doctor.runner import examine

__all__ = ["Finding", "CheckResult", "Report", "examine"]
