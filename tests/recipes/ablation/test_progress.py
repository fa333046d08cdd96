"""Progress is read from disk: counts, the effects so far, one line for each run."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.progress import Progress, format_duration, show_progress
from recipes.ablation.runs import Row, Run
from recipes.ablation.worker import FAILURE, OUTPUT
from tests.recipes.ablation.test_runs import SPACE, create_runs, write_result


def test_progress_counts_the_runs_on_disk(tmp_path: Path) -> None:
    runs = create_runs(tmp_path, 5)
    write_result(runs[0])
    changes: list[Sequence[Row]] = []
    progress = Progress(runs, "accuracy", lambda rows: changes.append(list(rows)))
    assert progress.summarize() == "1 of 5 runs done · 0 running · 4 waiting"
    (runs[1].folder / OUTPUT).touch()
    write_result(runs[2])
    (runs[3].folder / FAILURE).write_text("no such column\n")
    assert progress.update() == [2, 3]
    assert progress.summarize().startswith("2 of 5 runs done · 1 running · 1 waiting · 1 failed · about ")
    assert progress.format_run(2) == "set, base, seed 2: 0.5000"
    assert progress.format_run(3) == "set, mixup, seed 3: failed, no such column"
    assert progress.update() == []
    assert [len(rows) for rows in changes] == [5, 5]


def test_a_run_may_fail_and_then_finish_between_two_updates(tmp_path: Path) -> None:
    runs = create_runs(tmp_path, 1)
    (runs[0].folder / FAILURE).write_text("no such column\n")
    progress = Progress(runs, "accuracy", lambda rows: None)
    (runs[0].folder / FAILURE).unlink()
    write_result(runs[0])
    assert progress.update() == [0]
    assert progress.rows[0].status == "finished"


def test_effects_so_far_are_of_seeds_that_all_arms_have(tmp_path: Path) -> None:
    runs = [Run(SPACE, "set", (seed % 2,), seed // 2, tmp_path / str(seed)) for seed in range(4)]
    for run, score in zip(runs[:3], (0.5, 0.75, 0.9), strict=True):
        run.folder.mkdir()
        write_result(run, score)
    progress = Progress(runs, "accuracy", lambda rows: None)
    assert progress.estimate_effects() == {"mixup": pytest.approx(0.25)}
    assert Progress(runs[2:], "accuracy", lambda rows: None).estimate_effects() == {}


def test_an_arm_that_fails_does_not_hide_the_effects_of_others(tmp_path: Path) -> None:
    factors = tuple(Factor(name, (NONE, Level(name, (), name))) for name in ("mixup", "swa"))
    arms = [(0, 0), (1, 0), (0, 1)]
    runs = [Run(Space(factors, {"set": ()}), "set", arm, 0, tmp_path / f"{arm}") for arm in arms]
    for run, score in zip(runs, (0.5, 0.75, None), strict=True):
        run.folder.mkdir()
        if score is None:
            (run.folder / FAILURE).write_text("no memory\n")
        else:
            write_result(run, score)
    assert Progress(runs, "accuracy", lambda rows: None).estimate_effects() == {"mixup": pytest.approx(0.25)}


def test_without_a_terminal_each_run_that_ends_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = create_runs(tmp_path, 2)
    with show_progress(Progress(runs, "accuracy", lambda rows: None)):
        write_result(runs[1])
    assert "set, mixup, seed 1: 0.5000 · 1 of 2 runs done · 0 running · 1 waiting" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "words"), [(12.4, "12 s"), (600.0, "10 min"), (9000.0, "2.5 h")])
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words
