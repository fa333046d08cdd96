"""Checks of a finished run, on predictions and losses with known results."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipes.doctor.checks.finished import (
    calibration,
    confident_errors,
    linear_baseline,
    loss_curve,
    memorizing,
    predictions,
    training_length,
)
from recipes.doctor.findings import CheckResult, Finding, Skip
from recipes.metrics import Predictions
from recipes.testing import tiny_config


def run_check(check: Any, subject_values: Mapping[str, Any] | None = None, **run: Any) -> list[Finding]:
    """The findings of a check, for a finished run with these attributes."""
    values = {"finished_run": SimpleNamespace(**run), "remedies": lambda finding: ""}
    subject: Any = SimpleNamespace(**{**values, "config": SimpleNamespace(tricks={}), **(subject_values or {})})
    result = CheckResult("after", check.__name__, "")
    check(subject, result)
    assert result.inspected
    return result.findings


def check_predictions(
    check: Any, predicted: str, labels: Sequence[str | None], confidence: float | Sequence[float] = 0.9
) -> list[Finding]:
    """Predict x, y or z for each row, with the same confidence or with one for each row."""
    answers = scored(predicted, labels, confidence)
    return run_check(check, splits=["validation"], load_predictions=lambda split: answers, updates=[])


def scored(predicted: str, labels: Sequence[str | None], confidence: float | Sequence[float] = 0.9) -> Predictions:
    decisions = np.array([[int(name == each) for each in "xyz"] for name in predicted])
    confidences = np.broadcast_to(confidence, len(predicted))[:, None]
    probabilities = np.where(decisions, confidences, (1 - confidences) / 2)
    ids = [f"row {row}" for row in range(len(labels))]
    return Predictions(ids, list(labels), probabilities, decisions, list("xyz"), False)


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


def check_baseline(score: float, low: float, high: float, baseline: str = "linear") -> list[Finding]:
    comparison = {
        "baselines": {"linear": {"accuracy": 0.8}, "majority": {"accuracy": 0.5}},
        "against": {"baseline": baseline, "difference": (low + high) / 2, "low": low, "high": high},
    }
    config = SimpleNamespace(evaluate=SimpleNamespace(metric="accuracy"), train=SimpleNamespace(learning_rate=1e-4))
    run = {"metrics": {"validation": {"accuracy": score}}, "load_predictions": lambda split: scored("xy", "xy")}
    return run_check(linear_baseline, {"config": config, "comparison": comparison}, **run)


def test_a_run_is_better_than_its_baseline_only_if_the_interval_leaves_out_0() -> None:
    (better,) = check_baseline(0.9, 0.001, 0.2)
    assert (better.severity, better.name) == ("note", "")
    for low, high in ((0.0, 0.0), (-0.01, 0.2), (-0.2, -0.1)):
        (finding,) = check_baseline(0.8 + (low + high) / 2, low, high)
        assert (finding.severity, finding.name, finding.figure, finding.limit) == ("warning", "not_better", low, 0.0)
    assert check_baseline(0.9, -0.01, 0.2)[0].consequence == "2 validation rows do not show that the model is better"
    (finding,) = check_baseline(0.5, -0.1, 0.1, "majority")
    assert "that of the majority class 0.5000" in finding.message and "model=linear" not in finding.remedy


def test_rows_that_cannot_be_compared_show_nothing() -> None:
    config = SimpleNamespace(evaluate=SimpleNamespace(metric="accuracy"))
    values = {"config": config, "comparison": {"baselines": {}, "against": None}}
    (finding,) = run_check(
        linear_baseline,
        values,
        metrics={"validation": {"accuracy": 1.0}},
        load_predictions=lambda split: scored("x", "x"),
    )
    assert (finding.name, finding.figure) == ("not_better", None)
    assert finding.message.startswith("1 validation rows with a label cannot show")


FALLING = [1.0 - index / 20 for index in range(20)]


def check_losses(training: Sequence[float | None], cross_entropy: Sequence[float | None] = ()) -> list[str]:
    pairs = zip(training, cross_entropy or training, strict=True)
    lines = [{"loss": loss, "cross_entropy": each} for loss, each in pairs]
    config = SimpleNamespace(train=SimpleNamespace(learning_rate=0.1))
    findings = run_check(
        loss_curve, {"config": config}, updates=lines, load_predictions=lambda split: scored("xyz", "xyz")
    )
    return [finding.name for finding in findings]


def test_a_loss_that_does_not_fall_is_found() -> None:
    assert check_losses(FALLING) == []
    assert check_losses([1.0] * 10) == ["loss_did_not_fall"]
    with pytest.raises(Skip, match="fewer than ten updates"):
        check_losses([1.0] * 9)


def test_a_loss_of_more_than_twice_that_of_a_uniform_guess_has_diverged() -> None:
    """Three classes: the limit is 2 log 3 = 2.197. It is the cross-entropy that counts, not the composed loss."""
    assert check_losses([1.0] * 18 + [2.3] * 2) == ["loss_did_not_fall", "diverged"]
    assert check_losses([9.0] * 18 + [2.1] * 2) == []
    assert check_losses(FALLING, [1.0] * 18 + [2.3] * 2) == ["diverged"]
    assert check_losses(FALLING, [1.0] * 18 + [None] * 2) == ["diverged"]


def check_memorized(training: Sequence[float], validation: Sequence[float], weights: str = "last") -> list[Finding]:
    """One evaluation after each update; the best weights are those of the first evaluation."""
    updates = [{"update": number, "loss": loss, "cross_entropy": loss} for number, loss in enumerate(training, 1)]
    history = [{"update": number, "split": "validation", "loss": loss} for number, loss in enumerate(validation, 1)]
    candidates = {"last": {"loss": validation[-1]}, "best": {"loss": validation[0], "update": 1}}
    evaluate = SimpleNamespace(weights=weights, early_stopping=None, metric="accuracy")
    comparison = {"baselines": {"majority": {"loss": 1.0}}}
    subject = {"config": SimpleNamespace(evaluate=evaluate), "comparison": comparison}
    metrics = {"weights": weights, "candidates": candidates}
    return run_check(memorizing, subject, updates=updates, history=history, metrics=metrics)


def test_a_validation_loss_that_rose_while_training_rows_are_known_is_found() -> None:
    assert check_memorized([1.0, 0.5, 0.1], [1.0, 0.5, 0.64]) == []
    (finding,) = check_memorized([1.0, 0.5, 0.1], [1.0, 0.5, 0.66])
    assert (finding.name, finding.figure, finding.limit) == ("memorized", pytest.approx(1.32), 1.3)
    assert finding.remedy.split(", or ") == [
        "fewer epochs",
        "evaluate.weights=best",
        "evaluate.early_stopping=2",
        "evaluate.metric=loss",
    ]
    # The training loss is as high: nothing is memorized.
    assert check_memorized([1.0, 0.5, 0.4], [1.0, 0.5, 0.66]) == []
    # The weights of the first evaluation are those that are saved.
    assert check_memorized([1.0, 0.5, 0.1], [1.0, 0.5, 0.66], weights="best") == []


def test_a_single_evaluation_is_compared_with_the_majority_class() -> None:
    assert check_memorized([0.1], [1.25]) == []
    (finding,) = check_memorized([0.1], [1.35])
    assert finding.name == "memorized" and "validation loss was 1.000 and is 1.350" in finding.message


@pytest.mark.parametrize(
    ("metric", "scores", "is_found"),
    [
        ("accuracy", [0.5, 0.6, 0.7], True),
        ("accuracy", [0.5, 0.7, 0.7], False),
        ("accuracy", [0.5, 0.7, 0.6], False),
        ("loss", [0.5, 0.7, 0.4], True),
        ("loss", [0.5, 0.7, 0.6], False),
    ],
)
def test_a_best_evaluation_at_the_end_is_found(metric: str, scores: list[float], is_found: bool) -> None:
    train = SimpleNamespace(max_updates=None, epochs=3.0)
    config = SimpleNamespace(evaluate=SimpleNamespace(metric=metric), train=train)
    evaluations = [{"update": number, "split": "validation", metric: score} for number, score in enumerate(scores, 1)]
    history = [{"update": 1, "loss": 9.9}, *evaluations]
    findings = run_check(training_length, {"config": config}, history=history)
    assert [(finding.name, finding.remedy) for finding in findings] == [("best_at_end", "train.epochs=6")] * is_found
    with pytest.raises(Skip, match="fewer than two evaluations"):
        run_check(training_length, {"config": config}, history=history[:2])


def test_updates_are_not_judged_where_a_stage_is_all_of_training() -> None:
    """The loss cannot fall, and neither more updates nor another rate can help."""
    config = tiny_config("+tricks=[contrastive]", "train.learning_rate=0")
    updates = [{"loss": 1.0, "cross_entropy": 1.0}] * 20
    with pytest.raises(Skip, match="cannot fall"):
        run_check(loss_curve, {"config": config}, updates=updates)
    answers = scored("x" * 12, "xyz" * 4)
    run = {"splits": ["validation"], "load_predictions": lambda split: answers, "updates": updates}
    (finding,) = run_check(predictions, {"config": config}, **run)
    assert finding.remedy.startswith("other settings of the stage before the updates, or")
