"""Faults of finished runs, each trained in full."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from recipes.api import finetune_config
from recipes.doctor.registry import CHECKS
from recipes.reports.results import show_health
from recipes.testing import in_child
from tests.recipes.doctor.faults.harness import (
    Fault,
    Rows,
    checks_named,
    find_problems,
    list_findings,
    make_config,
    matches,
)

LEARNING = ("train.learning_rate=3e-3", "train.epochs=15")


def remove_most_z(rows: Rows) -> None:
    rare = [row for row in rows["train"] if row["label"] == "z"][1:]
    rows["train"] = [row for row in rows["train"] if row not in rare]


def randomize_test_labels(rows: Rows) -> None:
    chance = random.Random(0)
    for row in rows["test"]:
        row["label"] = chance.choice("xyz")


def randomize_labels(rows: Rows) -> None:
    """Random labels, which are memorized: the model is confident and wrong."""
    chance = random.Random(0)
    for split in rows.values():
        for row in split:
            row["label"] = chance.choice("xyz")


FAULTS: Sequence[tuple[Fault, Sequence[str]]] = [
    (Fault("a constant prediction", "predictions", "for every row", "error", ["train.learning_rate=1e-7"]), LEARNING),
    (
        Fault("a loss that never fell", "loss_curve", "the loss began at", overrides=["train.learning_rate=1e-7"]),
        LEARNING,
    ),
    (
        Fault(
            "a label never predicted", "predictions", "'z' is never predicted", rows=remove_most_z, overrides=LEARNING
        ),
        (),
    ),
    (
        Fault(
            "another test split",
            "validation_test_gap",
            "do not overlap",
            rows=randomize_test_labels,
            overrides=LEARNING,
        ),
        (),
    ),
    (
        Fault(
            "below the linear baseline",
            "linear_baseline",
            "that of the linear baseline",
            overrides=["train.max_updates=10"],
        ),
        ["model=linear"],
    ),
    (
        Fault(
            "overconfident",
            "calibration",
            "the mean confidence is",
            rows=randomize_labels,
            overrides=["train.learning_rate=0.01", "train.epochs=30", "evaluate.weights=last"],
        ),
        ["+tricks=[temperature]"],
    ),
    (
        Fault(
            "confident errors",
            "confident_errors",
            "predicted wrongly at 90%",
            "note",
            rows=randomize_labels,
            overrides=["train.learning_rate=0.01", "train.epochs=30", "evaluate.weights=last"],
        ),
        ["+tricks=[temperature]"],
    ),
    (
        Fault(
            "memorized rows",
            "memorizing",
            "validation loss was",
            rows=randomize_labels,
            overrides=["train.learning_rate=0.01", "train.epochs=30", "evaluate.weights=last"],
        ),
        (),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "instead"), FAULTS, ids=[fault.name.replace(" ", "-") for fault, _ in FAULTS])
def test_a_fault_is_found_and_its_remedy_fixes_it(fault: Fault, instead: Sequence[str], tmp_path: Path) -> None:
    def train_and_check(with_fault: bool, *further: str) -> None:
        config = make_config(fault, tmp_path, with_fault, *further)
        expected = with_fault and not further
        folder = tmp_path / ("faulty" if expected else "fixed")
        in_child(lambda: finetune_config(config, folder))
        findings = find_problems(config, checks_named(fault.check), folder)
        assert any(matches(finding, fault) for finding in findings) == expected, list_findings(findings)

    train_and_check(True)
    train_and_check(bool(instead), *instead)


def test_checks_of_finished_runs_are_skipped_without_one(tmp_path: Path) -> None:
    from recipes.doctor.runner import run_checks
    from recipes.doctor.subject import Subject

    config = make_config(Fault("none", "", ""), tmp_path, True)
    checks = [check for check in CHECKS if check.section == "after"]
    results = in_child(lambda: run_checks(Subject(config, tmp_path / "none"), checks).results)
    assert len(results) == len(checks) == 8 and {result.outcome for result in results} == {"skipped"}


@pytest.mark.slow
def test_train_shows_the_problems_of_its_scores_at_the_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = make_config(Fault("none", "", ""), tmp_path, True, "train.learning_rate=1e-7", "doctor=cheap")
    in_child(lambda: show_health(finetune_config(config, tmp_path / "run")))
    output = capfd.readouterr().out
    assert "health: the model has collapsed: it predicts one class. accuracy against the linear baseline: -" in output
    assert "error: validation: the prediction is '" in output and "' for every row. Leads to: " in output
