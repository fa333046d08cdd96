"""The doctor: walks a run's pipeline in the order a good debugger would, cheapest first, and says what is wrong.

    from recipes.doctor import examine
    report = examine(["data=files", "data.train=reviews.csv"])
    report.exit_code, [finding.says for finding in report.findings]

A check is a function of a patient (`subject.py`) and a look (`findings.py`) that says what it looked at and what it
found. What it could not look at is skipped, with the reason, and never passed.
"""

from recipes.doctor.findings import CheckResult, Finding, Report
from recipes.doctor.runner import examine

__all__ = ["Finding", "CheckResult", "Report", "examine"]
