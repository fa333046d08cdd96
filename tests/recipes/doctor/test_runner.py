"""The contract of a check, and that an examination leaves nothing behind."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes.api import finetune_config
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.doctor import CheckResult, examine
from recipes.doctor.findings import SECTIONS, Finding, Report
from recipes.doctor.registry import CHECKS, Check
from recipes.doctor.render import lines, table
from recipes.doctor.runner import at_start, run_checks
from recipes.doctor.subject import Subject
from recipes.errors import UserError
from recipes.reports.tables import console_for_tables
from recipes.testing import (
    TINY,
    comparable_contents,
    copy_weights,
    difference,
    in_child,
    make_text_file,
    tiny_config,
    tiny_run,
    tiny_splits,
)

ROOT = Path(__file__).parents[3]


def files() -> list[str]:
    return [f"data.{split}={make_text_file(12, seed)}" for seed, split in enumerate(("train", "validation", "test"))]


def test_every_check_has_a_place_and_a_sentence() -> None:
    assert len(CHECKS) > 35 and len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.section in SECTIONS and check.about.endswith("."), check.name
    assert {check.section for check in CHECKS if not check.cheap} >= {"data", "model", "learning", "after"}


def test_a_check_that_looked_at_nothing_is_a_bug_and_no_pass() -> None:
    def lazy(subject: Subject, look: CheckResult) -> None:
        """About nothing."""

    with pytest.raises(ValueError, match="does not say what it looked at"):
        run_checks(Subject(tiny_config()), [Check("config", "lazy", True, "About nothing.", lazy)])


def test_what_cannot_be_read_is_told_once_and_what_rests_on_it_is_skipped() -> None:
    config = read(compose_config([*TINY, *files()[1:], "data.train=none.csv"])[0])
    report = in_child(lambda: run_checks(Subject(config), CHECKS))
    assert [finding.check for finding in report.findings if finding.severity == "error"] == ["setting_up"]
    outcomes = {look.check: look.outcome for look in report.results}
    assert outcomes["copies"] == outcomes["gradients"] == outcomes["speed"] == "skipped"
    assert outcomes["learning_rate"] == "ok" and report.exit_code == 2


def test_data_are_looked_at_where_the_run_is_refused() -> None:
    config = read(compose_config([*TINY, *files(), "evaluate.metric=micro_f1"])[0])
    outcomes = {look.check: look.outcome for look in in_child(lambda: run_checks(Subject(config), CHECKS).results)}
    assert outcomes["setting_up"] == "error" and outcomes["labels"] != "skipped" and outcomes["copies"] != "skipped"
    assert outcomes["tokens"] == outcomes["resuming"] == "skipped"


def test_nothing_is_left_changed(tmp_path: Path) -> None:
    def before_and_after() -> tuple[float, bool, list[str]]:
        run = tiny_run(tiny_config("+tricks=[mixup,ema]"), tmp_path, tmp_path / "run")
        run._step(run.seams.batches(run.train, 0)[0])
        subject = Subject(run.config, run=run, splits=tiny_splits(run.config))
        subject.scratch = tmp_path / "scratch"
        weights, counters = copy_weights(run), (run.updates, run.batches_done, run.skipped)
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        states = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
        modes = [module.training for module in run.bare_model.modules()]
        hooks = sum(len(module._forward_hooks) for module in run.bare_model.modules())
        run_checks(subject, CHECKS)
        same = (
            states[0] == random.getstate()
            and states[1] == str(np.random.get_state())
            and torch.equal(states[2], torch.get_rng_state())
            and modes == [module.training for module in run.bare_model.modules()]
            and hooks == sum(len(module._forward_hooks) for module in run.bare_model.modules())
            and counters == (run.updates, run.batches_done, run.skipped)
            and all(each.grad is None or not each.grad.any() for each in run.bare_model.parameters())
        )
        return difference(weights, copy_weights(run)), same, [path.name for path in tmp_path.rglob("*.jsonl")]

    changed, same, left = in_child(before_and_after)
    assert changed == 0 and same and left == []


def test_training_after_a_look_is_training_without(tmp_path: Path) -> None:
    for doctor in ("cheap", "off"):
        in_child(lambda: finetune_config(tiny_config(f"doctor={doctor}"), tmp_path / doctor))  # noqa: B023  (at once)
    assert comparable_contents(tmp_path / "cheap") == comparable_contents(tmp_path / "off")


def test_a_config_that_was_begun_with_it_goes_on_without(tmp_path: Path) -> None:
    in_child(lambda: finetune_config(tiny_config("doctor=cheap", "train.max_updates=2"), tmp_path / "run"))
    again = in_child(lambda: finetune_config(tiny_config("doctor=off", "train.max_updates=2"), tmp_path / "run"))
    assert again.folder == tmp_path / "run"


def test_errors_stop_a_run_before_it_begins_and_warnings_are_notes(tmp_path: Path) -> None:
    def said(*overrides: str) -> tuple[list[str], list[str]]:
        run = tiny_run(tiny_config(*overrides), tmp_path)
        try:
            at_start(run, tiny_splits(run.config))
        except UserError as error:
            return list(error.problems), run.notes
        return [], run.notes

    errors, _ = in_child(lambda: said("train.learning_rate=0.0"))
    assert "train.learning_rate=0" in errors[0] and errors[0].endswith("doctor=off trains all the same.")
    errors, notes = in_child(lambda: said("train.warmup=0.9"))
    assert not errors and any("doctor: train.warmup=0.9" in note for note in notes)


def test_a_report() -> None:
    look = CheckResult("data", "copies", "About copies.")
    look.at(1200, "rows of test")
    look.warn("331 rows leak.", "scores are too good", "+tricks=[deduplicate]", [str(row) for row in range(9)])
    skipped = CheckResult("data", "pairs", "About pairs.", skipped="data.text_pair is not set")
    report = Report([look, skipped])
    assert (look.outcome, skipped.outcome, report.exit_code) == ("warning", "skipped", 1)
    assert report.findings == [
        Finding("copies", "warning", "331 rows leak.", "scores are too good", "+tricks=[deduplicate]", list("01234"))
    ]
    assert list(lines(report)) == [
        "copies: warning: 331 rows leak. Rows: 0, 1, 2, 3, 4. Leads to: scores are too good. "
        "Do: +tricks=[deduplicate].",
        "verdict: train, but look at the warnings (1 warning, 1 skipped).",
    ]
    console = console_for_tables()
    with console.capture() as shown:
        console.print(table(report))
    assert "1,200 rows of test" in shown.get() and "data.text_pair is not set" in shown.get()
    assert json.loads(json.dumps(report.as_json()))["checks"][0]["outcome"] == "warning"


def test_a_linear_model_is_examined_as_far_as_it_goes() -> None:
    report = in_child(lambda: examine(["model=linear", "data=files", *files()]))
    outcomes = {look.check: look.outcome for look in report.results}
    assert outcomes["gradients"] == "skipped" and outcomes["texts"] != "skipped" and outcomes["labels"] != "skipped"


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    def ended(*arguments: str) -> Any:
        command = [sys.executable, str(ROOT / "scripts" / "doctor.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    tiny = ["model=tiny", "data=files", *files(), "train.device=cpu"]
    shown = ended("--cheap", *tiny, "train.warmup=0.9")
    assert shown.returncode == 1 and "verdict:" in shown.stdout and "train.warmup=0.1" in shown.stdout
    told = ended("--cheap", "--json", *tiny, "train.learning_rate=0")
    assert told.returncode == 2 and json.loads(told.stdout)["exit_code"] == 2
    wrong = ended("model=tinny")
    assert wrong.returncode == 2 and "there is no such model" in wrong.stderr and "Traceback" not in wrong.stderr
    assert not (tmp_path / "runs").exists()
