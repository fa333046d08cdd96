"""Checks of a finished run, on predictions and losses with known results."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipes.doctor.checks import finished
from recipes.doctor.checks.finished import (
    calibration,
    confident_errors,
    linear_baseline,
    loss_curve,
    predictions,
)
from recipes.doctor.findings import CheckResult, Finding, Skip
from recipes.metrics import Predictions


def run_check(check: Any, subject_values: Mapping[str, Any] | None = None, **run: Any) -> list[Finding]:
    """The findings of a check, for a finished run with these attributes."""
    subject: Any = SimpleNamespace(
        finished_run=SimpleNamespace(**run), remedies=lambda finding, otherwise="": otherwise, **(subject_values or {})
    )
    result = CheckResult("after", check.__name__, "")
    check(subject, result)
    assert result.inspected
    return result.findings


def check_predictions(
    check: Any, predicted: str, labels: Sequence[str | None], confidence: float | Sequence[float] = 0.9
) -> list[Finding]:
    """Predict x, y or z for each row, with the same confidence or with one for each row."""
    decisions = np.array([[int(name == each) for each in "xyz"] for name in predicted])
    confidences = np.broadcast_to(confidence, len(predicted))[:, None]
    probabilities = np.where(decisions, confidences, (1 - confidences) / 2)
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


def test_confident_errors_are_listed_with_the_most_confident_first() -> None:
    """Row 1 is right, row 2 has a low confidence, and row 4 has no label."""
    labels, confidence = ["x", "x", "x", "z", None], [0.92, 0.99, 0.5, 0.97, 0.98]
    (finding,) = check_predictions(confident_errors, "yxyyx", labels, confidence)
    assert finding.message == "2 of 5 validation rows are predicted wrongly at 90% or more, first 'y' for 'z'."
    assert finding.rows == ["row 3", "row 0"]


@pytest.mark.parametrize(
    ("metric", "score", "linear_score", "severity"),
    [
        ("accuracy", 0.9, 0.5, "note"),
        ("accuracy", 0.5, 0.9, "warning"),
        ("loss", 0.9, 0.5, "warning"),
        ("loss", 0.5, 0.9, "note"),
    ],
)
def test_a_run_worse_than_the_linear_baseline_is_found_whichever_direction_is_better(
    metric: str, score: float, linear_score: float, severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = SimpleNamespace(predict_rows=lambda rows: None)
    monkeypatch.setattr(finished, "Linear", SimpleNamespace(fit=lambda splits, seed: linear))
    monkeypatch.setattr(finished, "measure", lambda predictions: {metric: linear_score})
    config = SimpleNamespace(evaluate=SimpleNamespace(metric=metric), model=SimpleNamespace(source="hub"), seed=0)
    subject_values = {"config": config, "splits": SimpleNamespace(validation=range(9))}
    (finding,) = run_check(linear_baseline, subject_values, metrics={"validation": {metric: score}})
    assert finding.severity == severity


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
