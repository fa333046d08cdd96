"""What is on disk decides what is launched; a worker that dies takes no other run with it."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.progress import Progress, in_words
from recipes.ablation.runs import Row, Run, finish, row_of, write_csv
from recipes.ablation.worker import FAILURE, OUTPUT, Job, reason
from recipes.errors import UserError

SPACE = Space((Factor("mixup", (NONE, Level("mixup", (), "mixup"))),), {"set": ()})
COST = {"train_seconds": 2.0, "passes_per_update": 1.0, "peak_memory_mb": 300.0, "peak_memory_of": "run"}


def wanted(folder: Path, count: int) -> list[Run]:
    runs = [Run(SPACE, "set", (seed % 2,), seed, folder / str(seed)) for seed in range(count)]
    for run in runs:
        run.folder.mkdir()
    return runs


def end(run: Run, score: float = 0.5) -> None:
    (run.folder / "metrics.json").write_text(json.dumps({"validation": {"accuracy": score}, "cost": COST}))


class Worker:
    """Runs what it is given, until one of some seeds kills it."""

    def __init__(self, runs: Sequence[Run], deadly: set[int]) -> None:
        self.by_seed = {f"seed={run.seed}": run for run in runs}
        self.deadly, self.batches = deadly, list[list[int]]()

    def launch(self, batch: Sequence[Sequence[str]], first: int) -> None:
        runs = [self.by_seed[overrides[-1]] for overrides in batch]
        self.batches.append([run.seed for run in runs])
        for run in runs[:2]:  # two at a time, of which the rest is not begun when one dies
            (run.folder / OUTPUT).touch()
        if any(run.seed in self.deadly for run in runs[:2]):
            raise RuntimeError("a worker was killed\nby the system")
        for run in runs:
            (run.folder / OUTPUT).touch()
            if run.seed in self.deadly:
                raise RuntimeError("a worker was killed\nby the system")
            end(run)


def test_only_what_is_not_finished_is_launched(tmp_path: Path) -> None:
    runs = wanted(tmp_path, 5)
    end(runs[1])
    worker = Worker(runs, set())
    finish(runs, worker.launch, 2)
    assert worker.batches == [[0, 2], [3, 4]]
    finish(runs, worker.launch, None)
    assert len(worker.batches) == 2


def test_failed_runs_are_tried_again(tmp_path: Path) -> None:
    runs = wanted(tmp_path, 1)
    (runs[0].folder / FAILURE).write_text("no such column\n")
    assert row_of(runs[0], "accuracy").reason == "no such column"
    finish(runs, Worker(runs, set()).launch, None)
    assert row_of(runs[0], "accuracy").status == "finished"
    assert not (runs[0].folder / FAILURE).exists()


def test_the_run_that_kills_its_worker_is_found_and_the_others_finish(tmp_path: Path) -> None:
    runs = wanted(tmp_path, 5)
    worker = Worker(runs, {1})
    finish(runs, worker.launch, None)
    assert worker.batches == [[0, 1, 2, 3, 4], [0], [1], [2, 3, 4]]
    rows = [row_of(run, "accuracy") for run in runs]
    assert [row.status for row in rows] == ["finished", "failed", "finished", "finished", "finished"]
    assert rows[1].reason is not None and "RuntimeError: a worker was killed)" in rows[1].reason


def test_a_launcher_that_starts_nothing_is_an_error(tmp_path: Path) -> None:
    def launch(batch: Sequence[Sequence[str]], first: int) -> None:
        raise RuntimeError("there is no queue")

    with pytest.raises(UserError, match="started no run .RuntimeError: there is no queue"):
        finish(wanted(tmp_path, 2), launch, None)


def test_the_rows_as_a_file(tmp_path: Path) -> None:
    run = wanted(tmp_path, 1)[0]
    end(run, 0.75)
    control = Space((Factor("confirm", (Level("duplicate"), Level("eda"))),), {"set": ()})
    other = Row("set", (1,), 3, tmp_path / "b", "failed", "no, not this")
    write_csv(tmp_path / "runs.csv", {SPACE: [row_of(run, "accuracy")], control: [other]})
    header, first, second = csv.reader((tmp_path / "runs.csv").read_text().splitlines())
    assert header == [
        "data",
        "mixup",
        "confirm",
        "seed",
        "status",
        "score",
        "seconds",
        "passes",
        "memory",
        "memory_of",
        "reason",
        "folder",
    ]
    assert first == ["set", "none", "", "0", "finished", "0.75", "2.0", "1.0", "300.0", "run", "", "0"]
    assert second == ["set", "", "eda", "3", "failed", "", "", "", "", "", "no, not this", "b"]


# In a worker.


def in_folder(folder: Path, task: Callable[..., object]) -> object:
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}})
    try:
        return Job(task)(OmegaConf.create())
    finally:
        HydraConfig.instance().cfg = None


def test_a_job_is_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_folder(tmp_path, lambda composed: print("said") or 0.5) == 0.5
    assert capsys.readouterr().out == ""
    assert (tmp_path / OUTPUT).read_text() == "said\n"
    assert not (tmp_path / FAILURE).exists()


def fail(error: BaseException) -> Callable[..., object]:
    def task(composed: object) -> object:
        raise error

    return task


def test_a_job_that_fails_leaves_its_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        in_folder(tmp_path, fail(UserError("this", "and that")))
    assert (tmp_path / FAILURE).read_text() == "this\nand that\n"
    assert "Traceback" in (tmp_path / OUTPUT).read_text()
    assert reason(ValueError("bad\nindeed")) == "ValueError: bad\nindeed"


def test_a_job_that_is_interrupted_has_not_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        in_folder(tmp_path, fail(KeyboardInterrupt()))
    assert not (tmp_path / FAILURE).exists()


# What is told meanwhile.


def test_progress_counts_what_is_on_disk(tmp_path: Path) -> None:
    runs = wanted(tmp_path, 5)
    end(runs[0])
    kept: list[Sequence[Row]] = []
    progress = Progress(runs, "accuracy", lambda rows: kept.append(list(rows)))
    assert progress.told() == "1 of 5 runs done · 0 running · 4 waiting"
    (runs[1].folder / OUTPUT).touch()
    end(runs[2])
    (runs[3].folder / FAILURE).write_text("no such column\n")
    assert progress.look() == [2, 3]
    assert progress.told().startswith("2 of 5 runs done · 1 running · 1 waiting · 1 failed · about ")
    assert progress.line(2) == "set, base, seed 2: 0.5000"
    assert progress.line(3) == "set, mixup, seed 3: failed, no such column"
    assert progress.look() == []
    assert [len(rows) for rows in kept] == [5, 5]


def test_a_run_that_fails_and_then_finishes_between_two_looks(tmp_path: Path) -> None:
    runs = wanted(tmp_path, 1)
    (runs[0].folder / FAILURE).write_text("no such column\n")
    progress = Progress(runs, "accuracy", lambda rows: None)
    (runs[0].folder / FAILURE).unlink()
    end(runs[0])
    assert progress.look() == [0]
    assert progress.rows[0].status == "finished"


def test_effects_so_far_are_of_seeds_that_all_arms_have(tmp_path: Path) -> None:
    runs = [Run(SPACE, "set", (seed % 2,), seed // 2, tmp_path / str(seed)) for seed in range(4)]
    for run, score in zip(runs[:3], (0.5, 0.75, 0.9), strict=True):
        run.folder.mkdir()
        end(run, score)
    progress = Progress(runs, "accuracy", lambda rows: None)
    assert progress.effects() == {"mixup": pytest.approx(0.25)}
    assert Progress(runs[2:], "accuracy", lambda rows: None).effects() == {}


def test_an_arm_that_fails_does_not_hide_the_effects_of_others(tmp_path: Path) -> None:
    factors = tuple(Factor(name, (NONE, Level(name, (), name))) for name in ("mixup", "swa"))
    arms = [(0, 0), (1, 0), (0, 1)]
    runs = [Run(Space(factors, {"set": ()}), "set", arm, 0, tmp_path / f"{arm}") for arm in arms]
    for run, score in zip(runs, (0.5, 0.75, None), strict=True):
        run.folder.mkdir()
        if score is None:
            (run.folder / FAILURE).write_text("no memory\n")
        else:
            end(run, score)
    assert Progress(runs, "accuracy", lambda rows: None).effects() == {"mixup": pytest.approx(0.25)}


@pytest.mark.parametrize(("seconds", "words"), [(12.4, "12 s"), (600.0, "10 min"), (9000.0, "2.5 h")])
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
