"""Checks of the config: thresholds, and what they suggest."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from recipes.compose.tricks import build
from recipes.doctor.checks.config import (
    advised_values,
    evaluations,
    learning_rate,
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
        ("hub", 2e-4, "warning", "is 10 times the usual rate for this model; 2e-06 to 0.0001 is advised."),
        ("minilm", 3e-3, "warning", "is 10 times the usual rate for this model; 3e-05 to 0.0005 is advised."),
        ("tiny", 0.2, "warning", "is 200 times the usual rate"),
        ("tiny", 1e-6, "warning", "is 0.001 of the usual rate"),
    ],
)
def test_unusual_learning_rates_are_found(source: str, rate: float, severity: str, message: str) -> None:
    ((found_severity, found_message),) = run_check(learning_rate, f"train.learning_rate={rate}", source=source)
    assert found_severity == severity and message in found_message


@pytest.mark.parametrize(
    ("overrides", "is_fault"),
    [
        (["+tricks=[contrastive]"], False),
        (["+tricks=[contrastive]", "tricks.contrastive.epochs=0"], True),
        (["+tricks=[contrastive]", "tricks.contrastive.head=new"], True),
        (["+tricks=[mlm]"], True),
    ],
)
def test_only_a_stage_that_fits_the_head_replaces_the_updates(overrides: list[str], is_fault: bool) -> None:
    overrides = [*overrides, "train.learning_rate=0", "train.max_updates=1"]
    found = [
        *run_check(learning_rate, *overrides),
        *run_check(updates, *overrides, total_updates=1, updates_per_epoch=5, train=range(20)),
    ]
    assert bool(found) == is_fault


@pytest.mark.parametrize(
    ("source", "rate"),
    [("hub", 1e-4), ("hub", 2e-6), ("minilm", 5e-4), ("minilm", 3e-5), ("tiny", 1e-4), ("tiny", 0.1), ("linear", 0.0)],
)
def test_usual_learning_rates_are_not(source: str, rate: float) -> None:
    assert run_check(learning_rate, f"train.learning_rate={rate}", source=source) == []


@pytest.mark.parametrize(
    ("rate", "outcome"),
    [
        (1e-4, "ok"),
        (1.01e-4, "warning"),
        (2e-6, "ok"),
        (1.98e-6, "warning"),
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


@pytest.mark.parametrize(("patience", "is_found"), [(2, True), (3, False)])
def test_a_patience_of_less_than_a_tenth_of_training_is_found(patience: int, is_found: bool) -> None:
    """30 evaluations."""
    overrides = ["evaluate.every=0.1", f"evaluate.early_stopping={patience}"]
    result = check_config(evaluations, *overrides, total_updates=300, updates_per_epoch=100)
    assert [(finding.message, finding.consequence, finding.remedy) for finding in result.findings] == is_found * [
        (
            "evaluate.early_stopping=2 with 30 evaluations in all.",
            "training ends when 7% of it bring no better score, perhaps by chance",
            "evaluate.early_stopping=6",
        )
    ]


def check_advice(*overrides: str) -> list[tuple[str, str, str]]:
    """The message, the consequence and the remedy of each finding about advised values."""
    config = deepcopy(tiny_config(*overrides))
    result = check_config(advised_values, *overrides, tricks=build(config.tricks))
    assert all(finding.severity == "warning" for finding in result.findings)
    return [(finding.message, finding.consequence, finding.remedy) for finding in result.findings]


@pytest.mark.parametrize(
    ("name", "inside", "outside", "default"),
    [
        ("train.warmup", ["0.01", "0.5"], ["0", "0.6"], "0.1"),
        ("train.weight_decay", ["0", "0.1"], ["0.5"], "0.01"),
        ("train.clip_norm", ["0.1", "null", "10"], ["0.001", "11"], "1.0"),
        ("train.batch_size", ["8", "512"], ["1", "7", "1000"], "32"),
        ("model.dropout", ["0.0", "null", "0.5"], ["0.6"], "null"),
        ("evaluate.early_stopping", ["null", "2"], ["1"], "null"),
    ],
)
def test_settings_outside_their_advised_range_are_found(
    name: str, inside: list[str], outside: list[str], default: str
) -> None:
    for value in inside:
        assert check_advice(f"{name}={value}") == []
    for value in outside:
        ((message, consequence, remedy),) = check_advice(f"{name}={value}")
        assert message.startswith(f"{name}={value} is ") and " the advised range [" in message
        assert consequence and remedy == f"{name}={default}, the default"


def test_a_finding_names_the_setting_its_range_and_source_and_what_happens() -> None:
    ((message, consequence, remedy),) = check_advice("+tricks=[focal]", "tricks.focal.gamma=50")
    assert message == (
        "tricks.focal.gamma=50 is above the advised range [0.5, 5] (Lin et al. 2017, arXiv 1708.02002, tried 0 to 5)."
    )
    assert consequence.startswith("rows that are half right count for nothing")
    assert remedy == "tricks.focal.gamma=2.0, the default"


def test_a_setting_that_is_off_is_no_finding_about_advice() -> None:
    assert check_advice("+tricks=[focal]", "tricks.focal.gamma=0") == []


def test_the_default_of_a_trick_with_a_second_name_is_found_by_its_class() -> None:
    config = tiny_config("+tricks=[r_drop]")
    trick = build({"mine": {**config.tricks["r_drop"], "alpha": 1000.0}})["mine"]
    subject: Any = SimpleNamespace(
        config=replace(config, tricks={"mine": config.tricks["r_drop"]}), run=SimpleNamespace(tricks={"mine": trick})
    )
    result = CheckResult("config", "advised_values", "")
    advised_values(subject, result)
    assert [finding.remedy for finding in result.findings] == ["tricks.mine.alpha=1.0, the default"]
