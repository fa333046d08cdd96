"""Checks of the config: thresholds, and what they suggest."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest

from recipes.doctor.checks.config import (
    HIGHEST_RATE,
    LOWEST_RATE,
    evaluations,
    learning_rate,
    regularization,
    schedule,
    updates,
)
from recipes.doctor.findings import CheckResult
from recipes.testing import tiny_config


def check_config(check: Any, *overrides: str, source: str = "tiny", **run: object) -> CheckResult:
    """The result of a check, for a run with these attributes."""
    config = deepcopy(tiny_config(*overrides))  # it is cached
    config.model.source = source
    subject: Any = SimpleNamespace(
        config=config, run=SimpleNamespace(**run), remedies=lambda finding, *others: "a remedy"
    )
    result = CheckResult("config", check.__name__, "")
    check(subject, result)
    assert result.inspected
    return result


def run_check(check: Any, *overrides: str, source: str = "tiny", **run: object) -> list[tuple[str, str]]:
    """The severity and the message of each finding, for a run with these attributes."""
    result = check_config(check, *overrides, source=source, **run)
    return [(finding.severity, finding.message) for finding in result.findings]


@pytest.mark.parametrize(
    ("source", "rate", "severity", "message"),
    [
        ("hub", 1e-3, "warning", "is 50 times the usual rate"),
        ("hub", 1e-6, "warning", "is 0.05 of the usual rate"),
        ("hub", 0.0, "error", "train.learning_rate=0."),
        ("tiny", 0.2, "warning", "is 200 times the usual rate"),
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


@pytest.mark.parametrize(
    ("rate", "outcome"),
    [
        (HIGHEST_RATE, "ok"),
        (1.01 * HIGHEST_RATE, "warning"),
        (LOWEST_RATE, "ok"),
        (0.99 * LOWEST_RATE, "warning"),
        (0.0, "error"),
    ],
)
def test_a_learning_rate_exactly_at_a_limit_is_usual(rate: float, outcome: str) -> None:
    assert check_config(learning_rate, f"train.learning_rate={rate}", source="hub").outcome == outcome


@pytest.mark.parametrize(
    ("source", "name", "usual"),
    [
        ("minilm", None, "0.0003"),
        ("hub", "answerdotai/ModernBERT-base", "8e-05"),
        ("hub", "microsoft/deberta-v3-base", "1.5e-05"),
        ("hub", "somebody/something", "2e-05"),
        ("tiny", None, "0.001"),
    ],
)
def test_the_learning_rate_of_the_model_s_own_file_is_advised(source: str, name: str | None, usual: str) -> None:
    config = deepcopy(tiny_config("train.learning_rate=0.7"))
    config.model.source, config.model.name = source, name
    result = CheckResult("config", "learning_rate", "")
    learning_rate(SimpleNamespace(config=config), result)  # type: ignore[arg-type]
    assert [finding.remedy for finding in result.findings] == [
        f"train.learning_rate={usual}, as in this model's config"
    ]


def test_a_warmup_of_more_than_half_is_found() -> None:
    assert run_check(schedule, "train.warmup=0.5") == []
    ((severity, message),) = run_check(schedule, "train.warmup=0.6")
    assert severity == "warning" and "the learning rate rises for 60% of all updates" in message


@pytest.mark.parametrize(("total", "expected"), [(49, ["train.epochs=3 makes 49 updates of 8 rows."]), (50, [])])
def test_fewer_than_fifty_updates_are_found(total: int, expected: list[str]) -> None:
    overrides = ["train.epochs=3", "train.max_updates=null", "train.batch_size=8"]
    findings = run_check(updates, *overrides, total_updates=total, updates_per_epoch=20, train=range(400))
    assert [message for _, message in findings] == expected


@pytest.mark.parametrize(("max_updates", "is_noted"), [(59, True), (60, False), (61, False)])
def test_exactly_one_epoch_uses_every_row(max_updates: int, is_noted: bool) -> None:
    overrides = [f"train.max_updates={max_updates}", "train.epochs=1", "train.batch_size=16"]
    findings = run_check(updates, *overrides, total_updates=max_updates, updates_per_epoch=60, train=range(1000))
    assert any("less than an epoch" in message for _, message in findings) == is_noted


@pytest.mark.parametrize(("total", "count"), [(17, 3), (18, 3), (19, 4), (24, 4)])
def test_the_evaluation_after_the_last_update_is_counted_once(total: int, count: int) -> None:
    """One evaluation every six updates, and one at the end."""
    result = check_config(evaluations, "evaluate.every=1.0", total_updates=total, updates_per_epoch=6)
    assert result.inspected == [f"{count} evaluations"]


@pytest.mark.parametrize(("total", "count"), [(40, 4), (41, 5)])
def test_early_stopping_needs_more_evaluations_than_its_patience(total: int, count: int) -> None:
    """One evaluation every ten updates, and one at the end."""
    overrides = ["evaluate.every=1.0", "evaluate.early_stopping=3"]
    findings = run_check(evaluations, *overrides, total_updates=total, updates_per_epoch=10)
    message = f"evaluate.early_stopping=3 with {count} evaluations in all."
    assert findings == ([("warning", message)] if count == 4 else [])


def test_strong_regularization_is_found() -> None:
    assert run_check(regularization, "train.weight_decay=0.2", "train.clip_norm=0.01", "model.dropout=0.5") == []
    findings = run_check(regularization, "train.weight_decay=0.5", "train.clip_norm=0.001", "model.dropout=0.6")
    settings = [message.split("=")[0] for _, message in findings]
    assert settings == ["train.weight_decay", "train.clip_norm", "model.dropout"]
