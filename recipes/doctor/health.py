"""Whether a run is healthy: one table of limits, and what stands in `metrics.json` under `health`.

The checks of the section `after` (`recipes.doctor.checks.finished`) measure the figures and compare them with it.
The headline is the first of `HEADLINES` that was found, or `learned`.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipes.doctor.findings import EVIDENCE, CheckResult, Finding
from recipes.metrics import MIN_SPREAD

DIRECTIONS = {"above": operator.gt, "below": operator.lt, "at least": operator.ge, "at most": operator.le}


@dataclass(frozen=True)
class Limit:
    """The limit of a figure: a run whose figure is beyond it has the finding."""

    figure: str
    """What is measured."""
    direction: str
    """On which side of the limit the finding is: a key of `DIRECTIONS`."""
    limit: float
    remedy: str
    """What helps in general; a check may name something better for its run."""
    severity: str = "warning"

    def is_reached(self, figure: float) -> bool:
        """Whether a run with this figure has the finding."""
        return bool(DIRECTIONS[self.direction](figure, self.limit))


LIMITS: Mapping[str, Limit] = {
    "diverged": Limit(
        "training cross-entropy (median of the last tenth of the updates), divided by that of a uniform guess",
        "above",
        2.0,
        "a lower train.learning_rate, or train.clip_norm=1.0",
        "error",
    ),
    "collapsed": Limit(
        "validation answers outside their most frequent class, divided by the labels outside the majority class",
        "below",
        MIN_SPREAD,
        "the model's usual learning rate, more updates or no tricks; then trickbook doctor with the same overrides",
        "error",
    ),
    "not_better": Limit(
        "lower end of the 95 % interval of the difference to the baseline on validation (positive is better)",
        "at most",
        0.0,
        "more updates, another learning rate, more validation rows, or model=linear",
    ),
    "memorized": Limit(
        "validation loss of the final weights, divided by the lowest one, if training cross-entropy is below 0.7 of it",
        "above",
        1.3,
        "fewer epochs, or evaluate.metric=loss with evaluate.early_stopping=2",
    ),
    "best_at_end": Limit("evaluations after the best one", "below", 1.0, "twice the updates", "note"),
    "never_predicted": Limit("rows of a label that is never predicted", "at least", 5.0, "more rows of these labels"),
    "split_gap": Limit(
        "gap between the 95 % intervals of the validation and the test score",
        "above",
        0.0,
        "see the check `duplicates`, and split all rows again: data.validation=null data.test=null",
    ),
    "miscalibrated": Limit("expected calibration error on validation", "above", 0.1, "fewer epochs"),
    "confident_errors": Limit(
        "validation rows predicted wrongly with a probability of at least 0.9",
        "above",
        0.0,
        "read them: trickbook report shows their texts",
        "note",
    ),
    "loss_did_not_fall": Limit(
        "training loss over the last tenth of the updates, divided by that over the first tenth",
        "above",
        0.95,
        "trickbook doctor with the same overrides: `overfitting_one_batch` tests whether the model can learn",
    ),
}
"""All limits. The first ones are the headlines, in their order."""

HEADLINES = ("diverged", "collapsed", "not_better", "memorized", "best_at_end")
LEARNED = "learned"
# A run that has none: it ended before its baselines were compared.
NO_BASELINES: Mapping[str, Any] = {"baselines": {"majority": None, "linear": None}, "against": None}


def judge(
    result: CheckResult,
    name: str,
    figure: float,
    message: str,
    consequence: str,
    remedy: str | Callable[[], str] = "",
    rows: Sequence[str] = (),
) -> None:
    """Compare a figure with its limit, and add a finding if it is beyond.

    Args:
        result: of the check that measured the figure.
        name: of the limit.
        figure: the measured value.
        message: the problem, with the evidence.
        consequence: what it leads to.
        remedy: what helps this run, or a function that finds it; if empty, the remedy of the table.
        rows: ids of rows that show the problem.
    """
    limit = LIMITS[name]
    if limit.is_reached(figure):
        # JSON has no inf.
        finite = float(figure) if math.isfinite(figure) else None
        evidence = list(rows)[:EVIDENCE]
        own_remedy = remedy if isinstance(remedy, str) else remedy()
        result.findings.append(
            Finding(
                result.check,
                limit.severity,
                message,
                consequence,
                own_remedy or limit.remedy,
                evidence,
                name,
                finite,
                limit.limit,
            )
        )


def summarize(findings: Sequence[Finding], comparison: Mapping[str, Any]) -> dict[str, Any]:
    """The value of `health` in `metrics.json`.

    Args:
        findings: of the checks of the section `after`.
        comparison: `baselines` and `against`, as `recipes.doctor.baselines.compare_with_baselines` returns them.
    """
    named = [finding for finding in findings if finding.name]
    names = {finding.name for finding in named}
    return {
        "headline": next((name for name in HEADLINES if name in names), LEARNED),
        "findings": [
            {
                "name": finding.name,
                "figure": finding.figure,
                "limit": finding.limit,
                "remedy": finding.remedy,
                "severity": finding.severity,
                "message": finding.message,
                "consequence": finding.consequence,
                "rows": list(finding.rows),
            }
            for finding in sorted(named, key=lambda finding: list(LIMITS).index(finding.name))
        ],
        **comparison,
    }


def describe_divergence(message: str) -> dict[str, Any]:
    """The value of `health` of a run that ended because it diverged.

    Args:
        message: of the error.
    """
    limit = LIMITS["diverged"]
    finding = Finding(
        "", limit.severity, message, "the run has no model", limit.remedy, (), "diverged", None, limit.limit
    )
    return summarize([finding], NO_BASELINES)
