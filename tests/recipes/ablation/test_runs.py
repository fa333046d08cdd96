"""Only runs without a result on disk are launched, and a worker that dies does not take other runs with it."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.runs import Row, Run, finish_runs, read_row, write_csv
from recipes.ablation.worker import FAILURE, OUTPUT
from recipes.errors import UserError
from recipes.guards import Diverged
from recipes.metrics import Predictions
from recipes.runs import manifest
from recipes.runs.predictions import write_predictions

SPACE = Space((Factor("mixup", (NONE, Level("mixup", (), "mixup"))),), {"set": ()})
LIVE_RUN: Any = SimpleNamespace(config=SimpleNamespace(train=SimpleNamespace(learning_rate=1e-5)))
COST = {"train_seconds": 2.0, "passes_per_update": 1.0, "peak_memory_mb": 300.0, "peak_memory_of": "run"}


def create_runs(folder: Path, count: int) -> list[Run]:
    runs = [Run(SPACE, "set", (seed % 2,), seed, folder / str(seed)) for seed in range(count)]
    for run in runs:
        run.folder.mkdir()
    return runs


def write_result(run: Run, score: float = 0.5, answers: str = "ab") -> None:
    """Write the result of a run whose four rows have the labels a, b, a, b, and whose answers are repeated."""
    decisions = np.array([[name == "a", name == "b"] for name in answers * 4][:4], np.int8)
    predictions = Predictions(list("0123"), list("abab"), decisions.astype(np.float32), decisions, ["a", "b"], False)
    (run.folder / "predictions").mkdir(exist_ok=True)
    write_predictions(run.folder / "predictions" / "validation.csv", predictions)
    (run.folder / "metrics.json").write_text(json.dumps({"validation": {"accuracy": score}, "cost": COST}))


class Worker:
    """Finishes the runs that it gets, until a run with a deadly seed kills it."""

    def __init__(self, runs: Sequence[Run], deadly: set[int]) -> None:
        self.by_seed = {f"seed={run.seed}": run for run in runs}
        self.deadly, self.batches = deadly, list[list[int]]()

    def launch(self, batch: Sequence[Sequence[str]], first: int) -> None:
        runs = [self.by_seed[overrides[-1]] for overrides in batch]
        self.batches.append([run.seed for run in runs])
        # Two runs at a time; if one of them dies, the rest of the batch has not begun.
        for run in runs[:2]:
            (run.folder / OUTPUT).touch()
        if any(run.seed in self.deadly for run in runs[:2]):
            raise RuntimeError("a worker was killed\nby the system")
        for run in runs:
            (run.folder / OUTPUT).touch()
            if run.seed in self.deadly:
                raise RuntimeError("a worker was killed\nby the system")
            write_result(run)


def test_only_unfinished_runs_are_launched(tmp_path: Path) -> None:
    runs = create_runs(tmp_path, 5)
    write_result(runs[1])
    worker = Worker(runs, set())
    finish_runs(runs, worker.launch, 2)
    assert worker.batches == [[0, 2], [3, 4]]
    finish_runs(runs, worker.launch, None)
    assert len(worker.batches) == 2


def test_a_run_has_a_model_only_if_the_study_needs_it_or_the_user_asks(tmp_path: Path) -> None:
    requested = replace(SPACE, shared=("checkpoint.save_model=true",))
    run, needed = Run(SPACE, "set", (0,), 0, tmp_path), Run(SPACE, "set", (0,), 0, tmp_path, needs_model=True)
    setting = "checkpoint.save_model"
    # The last one counts.
    assert [line for line in run.overrides if setting in line] == [f"{setting}=false"]
    assert [line for line in replace(run, space=requested).overrides if setting in line] == [
        f"{setting}=false",
        f"{setting}=true",
    ]
    assert needed.overrides[-1] == f"{setting}=true"


def test_trackers_show_a_run_by_its_arm_seed_and_levels(tmp_path: Path) -> None:
    label = Factor("data.label", (Level("label"), Level("[toxic,it's]")))
    space = replace(SPACE, factors=(*SPACE.factors, label))

    def read_labels(run: Run) -> dict[str, object]:
        parser = OverridesParser.create()
        parsed = [parser.parse_override(line) for line in run.overrides if line.startswith("tracker.")]
        assert not any(override.is_sweep_override() for override in parsed)
        return {override.key_or_group: override.value() for override in parsed}

    assert read_labels(Run(space, "set", (0, 0), 2, tmp_path)) == {
        "tracker.name": "base s2",
        "tracker.tags": ["mixup=none", "data.label=label"],
    }
    assert read_labels(Run(space, "set", (1, 1), 0, tmp_path, ("train.epochs=6",))) == {
        "tracker.name": "mixup + data.label=[toxic,it's] train.epochs=6 s0",
        "tracker.tags": ["mixup=mixup", "data.label=[toxic,it's]"],
    }
    two = replace(space, data={"set": (), "other": ()})
    assert read_labels(Run(two, "other", (1, 0), 0, tmp_path))["tracker.name"] == "other mixup s0"
    # What the user sets comes later, and counts.
    chosen = [*Run(replace(space, shared=("tracker.name=mine",)), "set", (0, 0), 0, tmp_path).overrides]
    assert [line for line in chosen if line.startswith("tracker.name=")][-1] == "tracker.name=mine"


def test_a_finished_run_without_a_needed_model_is_launched_again(tmp_path: Path) -> None:
    runs = [replace(run, needs_model=run.seed > 0) for run in create_runs(tmp_path, 3)]
    for run in runs:
        (run.folder / "model").mkdir()
        if run.seed == 2:
            (run.folder / "model" / "weights").touch()
        manifest.write(run.folder)
    launched: list[Sequence[str]] = []
    finish_runs(runs, lambda batch, first: launched.extend(batch), None)
    assert [overrides[-2:] for overrides in launched] == [["seed=1", "checkpoint.save_model=true"]]


def test_failed_runs_are_launched_again(tmp_path: Path) -> None:
    runs = create_runs(tmp_path, 1)
    (runs[0].folder / FAILURE).write_text("no such column\n")
    assert read_row(runs[0], "accuracy").reason == "no such column"
    finish_runs(runs, Worker(runs, set()).launch, None)
    assert read_row(runs[0], "accuracy").status == "finished"
    assert not (runs[0].folder / FAILURE).exists()


def test_the_run_that_kills_its_worker_fails_and_the_others_finish(tmp_path: Path) -> None:
    runs = create_runs(tmp_path, 5)
    worker = Worker(runs, {1})
    finish_runs(runs, worker.launch, None)
    assert worker.batches == [[0, 1, 2, 3, 4], [0], [1], [2, 3, 4]]
    rows = [read_row(run, "accuracy") for run in runs]
    assert [row.status for row in rows] == ["finished", "failed", "finished", "finished", "finished"]
    assert rows[1].reason is not None and "RuntimeError: a worker was killed)" in rows[1].reason


def test_a_launcher_that_starts_nothing_is_an_error(tmp_path: Path) -> None:
    def launch(batch: Sequence[Sequence[str]], first: int) -> None:
        raise RuntimeError("there is no queue")

    with pytest.raises(UserError, match="started no run .RuntimeError: there is no queue"):
        finish_runs(create_runs(tmp_path, 2), launch, None)


def test_runs_csv_has_a_column_for_each_factor_of_any_space(tmp_path: Path) -> None:
    run = create_runs(tmp_path, 1)[0]
    write_result(run, 0.75)
    control = Space((Factor("confirm", (Level("duplicate"), Level("eda"))),), {"set": ()})
    other = Row("set", (1,), 3, tmp_path / "b", "failed", "no, not this")
    write_csv(tmp_path / "runs.csv", {SPACE: [read_row(run, "accuracy")], control: [other]})
    header, first, second = csv.reader((tmp_path / "runs.csv").read_text().splitlines())
    assert header == [
        "data",
        "mixup",
        "confirm",
        "seed",
        "status",
        "score",
        "collapsed",
        "seconds",
        "passes",
        "memory",
        "memory_of",
        "graphs",
        "reason",
        "folder",
    ]
    assert first == [
        "set",
        "none",
        "",
        "0",
        "finished",
        "0.75",
        "False",
        "2.0",
        "1.0",
        "300.0",
        "run",
        "False",
        "",
        "0",
    ]
    assert second == ["set", "", "eda", "3", "failed", "", "", "", "", "", "", "", "no, not this", "b"]


def test_a_run_is_broken_if_it_collapsed_or_diverged(tmp_path: Path) -> None:
    learned, collapsed, diverged, failed, missing = create_runs(tmp_path, 5)
    write_result(learned)
    write_result(collapsed, answers="b")
    (diverged.folder / FAILURE).write_text(str(Diverged(LIVE_RUN, "the loss is nan")))
    (failed.folder / FAILURE).write_text("no such column\n")
    rows = [read_row(run, "accuracy") for run in (learned, collapsed, diverged, failed, missing)]
    assert [row.collapsed for row in rows] == [False, True, None, None, None]
    assert [row.is_broken for row in rows] == [False, True, True, None, None]


def test_a_reason_that_is_no_text_is_read_all_the_same(tmp_path: Path) -> None:
    (run,) = create_runs(tmp_path, 1)
    (run.folder / FAILURE).write_bytes(b"no \xff memory\n")
    assert read_row(run, "accuracy").reason == "no \N{REPLACEMENT CHARACTER} memory"


def test_damaged_scores_are_refused_by_name(tmp_path: Path) -> None:
    (run,) = create_runs(tmp_path, 1)
    (run.folder / "metrics.json").write_text("[]")
    with pytest.raises(UserError, match=r"0/metrics\.json is damaged"):
        read_row(run, "accuracy")


def test_the_csv_has_the_length_of_a_run_only_if_the_study_varies_it(tmp_path: Path) -> None:
    (run,) = create_runs(tmp_path, 1)
    row = read_row(run, "accuracy")
    write_csv(tmp_path / "one.csv", {SPACE: [row]})
    assert "length" not in (tmp_path / "one.csv").read_text(encoding="utf-8")
    write_csv(tmp_path / "two.csv", {SPACE: [row], replace(SPACE, length=2): [row]})
    lines = list(csv.DictReader((tmp_path / "two.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["length"] for line in lines] == ["1", "2"] and {line["data"] for line in lines} == {"set"}
