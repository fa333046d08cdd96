"""Checks of a finished run, on predictions and losses with known results."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipes.doctor.checks.finished import calibration, confident_errors, loss_curve, predictions
from recipes.doctor.findings import CheckResult, Finding, Skip
from recipes.metrics import Predictions


def run_check(check: Any, **run: Any) -> list[Finding]:
    subject: Any = SimpleNamespace(
        finished_run=SimpleNamespace(**run), remedies=lambda finding, otherwise="": otherwise
    )
    result = CheckResult("after", check.__name__, "")
    check(subject, result)
    assert result.inspected
    return result.findings


def check_predictions(check: Any, predicted: str, labels: str, confidence: float = 0.9) -> list[Finding]:
    """Predict x, y or z for each row, each with the same confidence."""
    decisions = np.array([[int(name == each) for each in "xyz"] for name in predicted])
    probabilities = np.where(decisions, confidence, (1 - confidence) / 2)
    ids = [f"row {row}" for row in range(len(labels))]
    scored = Predictions(ids, list(labels), probabilities, decisions, list("xyz"), False)
    return run_check(check, splits=["validation"], load_predictions=lambda split: scored)


def test_a_constant_prediction_is_an_error() -> None:
    (finding,) = check_predictions(predictions, "x" * 12, "xyz" * 4)
    assert finding.severity == "error" and finding.message == "validation: the prediction is 'x' for every row."
    assert check_predictions(predictions, "x" * 12, "x" * 12) == []


@pytest.mark.parametrize(("count", "expected"), [(4, 0), (5, 1)])
def test_a_label_of_five_rows_that_is_never_predicted_is_found(count: int, expected: int) -> None:
    findings = check_predictions(predictions, "xy" + "x" * count, "xy" + "z" * count)
    assert len(findings) == expected
    if findings:
        assert findings[0].message == "validation: 'z' is never predicted, but is the label of 5 rows."


def test_probabilities_above_the_accuracy_are_found() -> None:
    assert check_predictions(calibration, "x" * 100, "x" * 90 + "y" * 10) == []
    (finding,) = check_predictions(calibration, "x" * 100, "x" * 70 + "y" * 30)
    assert finding.message == "ece is 0.200 on validation; the mean confidence is 90%."
    assert finding.remedy == "fewer epochs"


def test_wrong_rows_of_high_confidence_are_listed() -> None:
    (finding,) = check_predictions(confident_errors, "xxy", "xzy")
    assert finding.message == "1 of 3 validation rows are predicted wrongly at 90% or more, first 'x' for 'z'."
    assert finding.rows == ["row 1"]
    assert check_predictions(confident_errors, "xxy", "xzy", confidence=0.8) == []


def check_losses(training: list[float], validation: list[float], weights: str = "last") -> list[str]:
    findings = run_check(
        loss_curve,
        updates=[{"loss": loss} for loss in training],
        history=[{"split": "validation", "loss": loss} for loss in validation],
        metrics={"weights": weights},
    )
    return [finding.message for finding in findings]


FALLING = [1.0 - index / 20 for index in range(20)]


def test_a_loss_that_does_not_fall_is_found() -> None:
    assert check_losses(FALLING, []) == []
    assert check_losses([1.0] * 10, []) == ["the loss began at 1.000 and ended at 1.000."]
    with pytest.raises(Skip, match="fewer than ten updates"):
        check_losses([1.0] * 9, [])


def test_a_validation_loss_that_rises_again_is_found_if_the_last_weights_are_used() -> None:
    assert check_losses(FALLING, [1.0, 0.5, 0.64]) == []
    assert check_losses(FALLING, [1.0, 0.5, 0.66]) == ["validation loss was 0.500 and is 0.660 at the end."]
    assert check_losses(FALLING, [1.0, 0.5, 0.66], weights="best") == []
