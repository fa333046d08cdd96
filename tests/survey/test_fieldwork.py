"""The workers of the atlas: what fits into a budget, who has a run, and what a failure leaves."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.errors import UserError
from scripts.survey import fieldwork
from scripts.survey.blocks import Selection, list_blocks
from scripts.survey.declaration import Atlas
from scripts.survey.fieldwork import RESERVE, Worker, run_workers
from scripts.survey.rows import Key, Result, append_result, read_results


@pytest.fixture
def worker(atlas: Atlas, tmp_path: Path) -> Worker:
    return Worker(atlas, tmp_path / "data", tmp_path / "rows", tmp_path / "work", [], 2, None)


def test_a_block_is_opened_if_all_of_it_fits(atlas: Atlas, worker: Worker, results: dict[Key, Result]) -> None:
    first, second, *_ = list_blocks(atlas, Selection())
    worker.until = time.time() + 60
    # Nothing is known of the time of a run yet.
    assert worker.expect_seconds(first, 4) == 0
    for run, wall in zip(first.runs, (20.0, 20.0, 20.0, 40.0), strict=True):
        append_result(worker.rows, replace(results[run.key], wall=wall, device=fieldwork.name_device()), worker.work)
    # Four runs of two workers: a wave of the mean, 25 s, and one with the longest run.
    assert worker.expect_seconds(second, 4) == pytest.approx(RESERVE * 65)
    assert not worker.open(second, 4) and worker.open(second, 2)
    # Once it is open, the other workers go on with it.
    worker.until = time.time()
    assert worker.open(second, 4)


def test_another_device_says_nothing(atlas: Atlas, worker: Worker, results: dict[Key, Result]) -> None:
    block = next(list_blocks(atlas, Selection()))
    append_result(worker.rows, replace(results[block.runs[0].key], device="another"), worker.work)
    assert worker.expect_seconds(block, 4) == 0


def test_a_run_has_one_worker(atlas: Atlas, worker: Worker) -> None:
    run = next(list_blocks(atlas, Selection())).runs[0]
    (worker.work / "locks").mkdir(parents=True)
    with worker.claim(run) as mine, worker.claim(run) as second:
        assert mine and not second
    with worker.claim(run) as again:
        assert again


@pytest.mark.parametrize("error", [UserError("refused"), RuntimeError("CUDA error")])
def test_a_refused_run_is_left_out_and_a_broken_one_ends_the_worker(
    atlas: Atlas, worker: Worker, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(fieldwork, "train_run", fail)
    monkeypatch.setattr(fieldwork, "find_sample", lambda *arguments: Path("set"))
    monkeypatch.setattr(fieldwork, "draw", lambda *arguments: (Path("train.csv"), Path("validation.csv")))
    block = next(list_blocks(atlas, Selection()))
    if isinstance(error, UserError):
        worker.make(block.runs[0])
    else:
        with pytest.raises(RuntimeError):
            worker.make(block.runs[0])
    assert str(error) in worker.failure(block.runs[0]).read_text()
    assert block.runs[0] not in worker.list_missing(block) and len(worker.list_missing(block)) == 3
    assert read_results(worker.rows) == {}


def test_a_worker_that_breaks_is_replaced(tmp_path: Path) -> None:
    """The first process fails, and notes it; the second one finds the note, and ends well."""
    work = tmp_path / "work"
    note = work / "failed" / "a.txt"
    starts = tmp_path / "starts"
    program = (
        f"import pathlib, sys; note = pathlib.Path({str(note)!r}); found = note.exists(); "
        f"note.parent.mkdir(parents=True, exist_ok=True); note.touch(); print('.', file=open({str(starts)!r}, 'a')); "
        "sys.exit(not found)"
    )

    assert run_workers([sys.executable, "-c", program], 1, work) == 1
    assert starts.read_text().count(".") == 2


def test_a_worker_that_cannot_start_is_not_replaced(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    program = f"print('.', file=open({str(starts)!r}, 'a')); raise SystemExit(2)"
    assert run_workers([sys.executable, "-c", program], 2, tmp_path / "work") == 2
    assert starts.read_text().count(".") == 2
