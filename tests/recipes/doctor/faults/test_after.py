"""What a finished run gives away: each fault is trained for real."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from recipes.api import finetune_config
from recipes.doctor.registry import CHECKS
from recipes.testing import in_child
from tests.recipes.doctor.faults.ward import Fault, Rows, config_of, found, is_it, named, told

MOVING = ("train.learning_rate=3e-3", "train.epochs=15")


def few_of_z(rows: Rows) -> None:
    rare = [row for row in rows["train"] if row["label"] == "z"][1:]
    rows["train"] = [row for row in rows["train"] if row not in rare]


def another_test(rows: Rows) -> None:
    chance = random.Random(0)
    for row in rows["test"]:
        row["label"] = chance.choice("xyz")


def doubtful(rows: Rows) -> None:
    """Labels that are chance, learnt by heart: sure and wrong."""
    chance = random.Random(0)
    for split in rows.values():
        for row in split:
            row["label"] = chance.choice("xyz")


FAULTS: Sequence[tuple[Fault, Sequence[str]]] = [
    (Fault("a constant answer", "answers", "every row is answered", "error", ["train.learning_rate=1e-7"]), MOVING),
    (Fault("a loss that never fell", "curve", "the loss began at", overrides=["train.learning_rate=1e-7"]), MOVING),
    (Fault("a label never answered", "answers", "'z' is never answered", rows=few_of_z, overrides=MOVING), ()),
    (Fault("another test split", "splits_apart", "farther apart", rows=another_test, overrides=MOVING), ()),
    (
        Fault("below the floor", "floor", "that of model=linear", overrides=["train.max_updates=10"]),
        [*MOVING, "train.max_updates=null", "train.epochs=40"],
    ),
    (
        Fault(
            "sure and wrong",
            "sureness",
            "% sure on average",
            rows=doubtful,
            overrides=["train.learning_rate=0.01", "train.epochs=30", "evaluate.weights=last"],
        ),
        ["+tricks=[temperature]"],
    ),
    (
        Fault(
            "confident errors",
            "sure_errors",
            "answered wrongly at 90%",
            "note",
            rows=doubtful,
            overrides=["train.learning_rate=0.01", "train.epochs=30", "evaluate.weights=last"],
        ),
        ["+tricks=[temperature]"],
    ),
    (
        Fault(
            "learnt by heart",
            "curve",
            "validation loss was",
            rows=doubtful,
            overrides=["train.learning_rate=0.01", "train.epochs=30", "evaluate.weights=last"],
        ),
        (),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "instead"), FAULTS, ids=[fault.name.replace(" ", "-") for fault, _ in FAULTS])
def test_found_named_and_mended(fault: Fault, instead: Sequence[str], tmp_path: Path) -> None:
    def trained(sick: bool, *further: str) -> None:
        config = config_of(fault, tmp_path, sick, *further)
        folder = tmp_path / ("sick" if sick and not further else "well")
        in_child(lambda: finetune_config(config, folder))
        findings = found(config, named(fault.check), folder)
        assert any(is_it(finding, fault) for finding in findings) == (folder.name == "sick"), told(findings)

    trained(True)
    trained(bool(instead), *instead) if instead else trained(False)


def test_without_a_finished_run_it_is_skipped(tmp_path: Path) -> None:
    from recipes.doctor.runner import run_checks
    from recipes.doctor.subject import Subject

    config = config_of(Fault("none", "", ""), tmp_path, True)
    checks = [check for check in CHECKS if check.section == "after"]
    results = in_child(lambda: run_checks(Subject(config, tmp_path / "none"), checks).results)
    assert len(results) == len(checks) == 6 and {look.outcome for look in results} == {"skipped"}


def test_training_ends_with_what_its_scores_give_away(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = config_of(Fault("none", "", ""), tmp_path, True, "train.learning_rate=1e-7", "doctor=cheap")
    in_child(lambda: finetune_config(config, tmp_path / "run"))
    shown = capfd.readouterr().out
    assert "doctor: error: validation: every row is answered" in shown
