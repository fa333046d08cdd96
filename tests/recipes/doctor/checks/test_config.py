"""Checks of the config: thresholds, and what they suggest."""

from types import SimpleNamespace
from typing import Any

import pytest

from recipes.doctor.checks.config import evaluations, learning_rate, regularization, schedule, updates
from recipes.doctor.findings import CheckResult
from recipes.testing import tiny_config


def run_check(check: Any, *overrides: str, source: str = "tiny", **run: object) -> list[tuple[str, str]]:
    """The severity and the message of each finding, for a run with these attributes."""
    config = tiny_config(*overrides)
    config.model.source = source
    subject: Any = SimpleNamespace(config=config, run=SimpleNamespace(**run), remedies=lambda finding: "a remedy")
    result = CheckResult("config", check.__name__, "")
    check(subject, result)
    assert result.inspected
    return [(finding.severity, finding.message) for finding in result.findings]


@pytest.mark.parametrize(
    ("source", "rate", "severity", "message"),
    [
        ("hub", 1e-3, "warning", "ten to a hundred times the usual rate"),
        ("hub", 1e-6, "warning", "far below 1e-5"),
        ("hub", 0.0, "error", "train.learning_rate=0."),
        ("tiny", 0.2, "warning", "high even for a tiny model"),
    ],
)
def test_unusual_learning_rates_are_found(source: str, rate: float, severity: str, message: str) -> None:
    ((found_severity, found_message),) = run_check(learning_rate, f"train.learning_rate={rate}", source=source)
    assert found_severity == severity and message in found_message


@pytest.mark.parametrize(
    ("source", "rate"), [("hub", 5e-4), ("hub", 2e-6), ("tiny", 1e-3), ("tiny", 0.1), ("linear", 0.0)]
)
def test_usual_learning_rates_are_not(source: str, rate: float) -> None:
    assert run_check(learning_rate, f"train.learning_rate={rate}", source=source) == []


def test_a_warmup_of_more_than_half_is_found() -> None:
    assert run_check(schedule, "train.warmup=0.5") == []
    ((severity, message),) = run_check(schedule, "train.warmup=0.6")
    assert severity == "warning" and "the learning rate rises for 60% of all updates" in message


@pytest.mark.parametrize(("total", "expected"), [(49, ["train.epochs=3 makes 49 updates of 8 rows."]), (50, [])])
def test_fewer_than_fifty_updates_are_found(total: int, expected: list[str]) -> None:
    overrides = ["train.epochs=3", "train.max_updates=null", "train.batch_size=8"]
    findings = run_check(updates, *overrides, total_updates=total, updates_per_epoch=20, train=range(400))
    assert [message for _, message in findings] == expected


@pytest.mark.parametrize(("total", "count"), [(40, 4), (41, 5)])
def test_early_stopping_needs_more_evaluations_than_its_patience(total: int, count: int) -> None:
    """One evaluation every ten updates, and one at the end."""
    overrides = ["evaluate.every=1.0", "evaluate.early_stopping=3"]
    findings = run_check(evaluations, *overrides, total_updates=total, updates_per_epoch=10)
    message = f"evaluate.early_stopping=3 with {count} evaluations in all."
    assert findings == ([("warning", message)] if count == 4 else [])


def test_strong_regularization_is_found() -> None:
    assert run_check(regularization, "train.weight_decay=0.5", "train.clip_norm=0.01", "model.dropout=0.5") == []
    findings = run_check(regularization, "train.weight_decay=0.6", "train.clip_norm=0.001", "model.dropout=0.6")
    settings = [message.split("=")[0] for _, message in findings]
    assert settings == ["train.weight_decay", "train.clip_norm", "model.dropout"]
