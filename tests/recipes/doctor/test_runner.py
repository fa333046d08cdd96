"""Running checks: each records what it inspected, and none changes the run."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes.api import finetune_config
from recipes.compose.reading import read
from recipes.doctor import CheckResult, baselines, examine, runner, subject
from recipes.doctor.findings import SECTIONS
from recipes.doctor.registry import CHECKS, Check
from recipes.doctor.runner import check_at_start, examine_finished, run_checks
from recipes.doctor.subject import Subject
from recipes.errors import UserError
from recipes.runs import manifest
from recipes.runs.files import write_json
from recipes.runs.folder import RunFolder, is_finished
from recipes.testing import (
    TINY,
    comparable_contents,
    compose_again,
    copy_weights,
    difference,
    finished_run,
    in_child,
    make_text_file,
    tiny_config,
    tiny_run,
    tiny_splits,
)
from tests.sampling import slow

ROOT = Path(__file__).parents[3]


def files() -> list[str]:
    return [f"data.{split}={make_text_file(12, seed)}" for seed, split in enumerate(("train", "validation", "test"))]


def test_every_check_has_a_section_and_a_description() -> None:
    assert len(CHECKS) > 35 and len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.section in SECTIONS and check.description.endswith("."), check.name
    assert {check.section for check in CHECKS if not check.cheap} >= {"data", "model", "learning", "after"}


def test_a_check_that_inspects_nothing_is_an_error() -> None:
    def lazy(subject: Subject, result: CheckResult) -> None:
        """About nothing."""

    with pytest.raises(ValueError, match="does not record what it inspected"):
        run_checks(Subject(tiny_config()), [Check("config", "lazy", True, "About nothing.", lazy)])


def test_unreadable_data_are_reported_once_and_dependent_checks_are_skipped() -> None:
    config = read(compose_again([*TINY, *files()[1:], "data.train=none.csv"]))
    report = in_child(lambda: run_checks(Subject(config), CHECKS))
    assert [finding.check for finding in report.findings if finding.severity == "error"] == ["setup"]
    outcomes = {result.check: result.outcome for result in report.results}
    assert outcomes["duplicates"] == outcomes["gradients"] == outcomes["speed"] == "skipped"
    assert outcomes["learning_rate"] == "ok" and report.exit_code == 2


def test_data_are_checked_even_if_the_run_cannot_be_set_up() -> None:
    config = read(compose_again([*TINY, *files(), "evaluate.metric=micro_f1"]))
    outcomes = {
        result.check: result.outcome for result in in_child(lambda: run_checks(Subject(config), CHECKS).results)
    }
    assert outcomes["setup"] == "error" and outcomes["labels"] != "skipped" and outcomes["duplicates"] != "skipped"
    assert outcomes["tokens"] == outcomes["resuming"] == "skipped"


@pytest.mark.slow
def test_checks_change_nothing(tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_training_after_the_checks_is_identical_to_training_without(tmp_path: Path) -> None:
    for doctor in ("cheap", "off"):
        in_child(lambda: finetune_config(tiny_config(f"doctor={doctor}"), tmp_path / doctor))  # noqa: B023  (at once)
    assert comparable_contents(tmp_path / "cheap") == comparable_contents(tmp_path / "off")


@pytest.mark.slow
def test_a_run_with_the_checks_resumes_without_them(tmp_path: Path) -> None:
    in_child(lambda: finetune_config(tiny_config("doctor=cheap", "train.max_updates=2"), tmp_path / "run"))
    again = in_child(lambda: finetune_config(tiny_config("doctor=off", "train.max_updates=2"), tmp_path / "run"))
    assert again.folder == tmp_path / "run"


def test_errors_stop_a_run_at_the_start_and_warnings_are_notes(tmp_path: Path) -> None:
    def errors_and_notes(*overrides: str) -> tuple[list[str], list[str]]:
        run = tiny_run(tiny_config(*overrides), tmp_path)
        try:
            check_at_start(run, tiny_splits(run.config))
        except UserError as error:
            return list(error.problems), run.notes
        return [], run.notes

    errors, _ = in_child(lambda: errors_and_notes("train.learning_rate=0.0"))
    assert "train.learning_rate=0" in errors[0] and errors[0].endswith("doctor=off trains all the same.")
    errors, notes = in_child(lambda: errors_and_notes("train.warmup=0.9"))
    assert not errors and any("doctor: train.warmup=0.9" in note for note in notes)


def test_a_linear_model_gets_the_checks_that_apply_to_it() -> None:
    report = in_child(lambda: examine(["model=linear", "data=files", *files()]))
    outcomes = {result.check: result.outcome for result in report.results}
    assert outcomes["gradients"] == "skipped" and outcomes["texts"] != "skipped" and outcomes["labels"] != "skipped"


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    def run_command(*arguments: str) -> Any:
        command = [sys.executable, str(ROOT / "scripts" / "doctor.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    tiny = ["model=tiny", "data=files", *files(), "train.device=cpu"]
    table = run_command("--cheap", *tiny, "train.warmup=0.9")
    assert table.returncode == 1 and "verdict:" in table.stdout and "train.warmup=0.1" in table.stdout
    as_json = run_command("--cheap", "--json", *tiny, "train.learning_rate=0")
    assert as_json.returncode == 2 and json.loads(as_json.stdout)["exit_code"] == 2
    wrong = run_command("model=tinny")
    assert wrong.returncode == 2 and "there is no such model" in wrong.stderr and "Traceback" not in wrong.stderr
    assert not (tmp_path / "runs").exists()


def without_health(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in ("health", "early_stop")}


def examine_again(folder: Path) -> tuple[Any, Any, int]:
    """The stored health, the one that the doctor finds without it, and the doctor's exit code on the folder."""
    metrics = RunFolder(folder).metrics
    report, stored = examine_finished(folder)
    assert stored == metrics["health"]
    write_json(folder / "metrics.json", {**without_health(metrics), "format": 3})
    manifest.write(folder)
    _, computed = examine_finished(folder)
    return stored, computed, report.exit_code


@pytest.mark.parametrize(
    ("overrides", "headline", "exit_code"),
    [
        (["train.learning_rate=1e-7"], "collapsed", 2),
        slow(["train.learning_rate=0.01", "train.max_updates=150", "seed=1", "evaluate.every=8"], "learned", 0),
    ],
)
def test_a_run_is_stored_and_examined_with_the_same_health(
    overrides: list[str], headline: str, exit_code: int, tmp_path: Path
) -> None:
    """The second run is compared with the majority class: the texts of the tests are easy for a linear model."""

    def work() -> tuple[Any, Any, int]:
        if headline == "learned":
            baselines.fit_linear_baseline = lambda splits: None
        finetune_config(tiny_config(*overrides), tmp_path / "run")
        return examine_again(tmp_path / "run")

    stored, computed, code = in_child(work)
    assert (stored["headline"], code) == (headline, exit_code), stored
    assert json.dumps(computed) == json.dumps(stored)
    names = {finding["name"] for finding in stored["findings"]}
    assert (headline == "collapsed") == ("collapsed" in names)
    assert stored["baselines"]["majority"]["accuracy"] == pytest.approx(1 / 3, abs=0.01)


def test_an_old_run_whose_data_is_gone_is_examined_by_its_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> Any:
        raise UserError("data.train is gone.")

    shutil.copytree(finished_run(), tmp_path / "old")
    write_json(tmp_path / "old" / "metrics.json", {**without_health(RunFolder(finished_run()).metrics), "format": 3})
    manifest.write(tmp_path / "old")
    assert RunFolder(tmp_path / "old").health is None
    monkeypatch.setattr(subject, "read_splits", refuse)
    report, health = in_child(lambda: examine_finished(tmp_path / "old"))
    assert health["headline"] == "collapsed" and health["against"] is None
    assert [finding.message for finding in report.findings if not finding.name] == ["data.train is gone."]


def test_a_run_that_diverges_leaves_the_reason_in_its_folder(tmp_path: Path) -> None:
    def work() -> str:
        with pytest.raises(UserError, match="training diverged") as error:
            finetune_config(tiny_config("train.learning_rate=1e30", "train.clip_norm=null"), tmp_path / "run")
        return str(error.value.problems[0])

    message = in_child(work)
    health = json.loads((tmp_path / "run" / "metrics.json").read_text())["health"]
    assert health["headline"] == "diverged" and not is_finished(tmp_path / "run")
    assert [(finding["name"], finding["message"]) for finding in health["findings"]] == [("diverged", message)]
    report, again = examine_finished(tmp_path / "run")
    assert again == health and report.exit_code == 2 and report.findings[0].message == message
    with pytest.raises(UserError, match="holds no finished run"):
        examine_finished(tmp_path)


@pytest.mark.parametrize("cheap", [False, True])
def test_only_the_cheap_checks_run_if_asked_for(cheap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "run_checks", lambda subject, checks: (subject.sample, list(checks)))
    sample_and_checks: Any = examine([*TINY, *files()], cheap=cheap)
    assert sample_and_checks == ((16, [check for check in CHECKS if check.cheap]) if cheap else (256, CHECKS))
