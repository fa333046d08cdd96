"""The script of the atlas: a small atlas end to end, killed and continued, and one that a budget ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from scripts.survey.rows import Key, Result, read_results

ROOT = Path(__file__).parents[1]
Write = Callable[[str, str], Path]


@pytest.fixture
def small_atlas(write: Write) -> Path:
    """The declaration of a study with two tricks on two data sets, and the data."""
    lines = [f'"a {"good" if row % 2 else "bad"} film, number{row}",{"yes" if row % 2 else "no"}' for row in range(80)]
    for name in ("first", "second"):
        for number, split in enumerate(("train", "validation", "test")):
            write(f"data/{name}/{split}.csv", "\n".join(["text,label", *lines[number::3]]) + "\n")
    atlas = {
        "rows": 24,
        "validation_rows": 20,
        "margin": 0.01,
        "overrides": [
            "model=tiny",
            "doctor=off",
            "tracker=none",
            "checkpoint.save_model=false",
            "evaluate.weights=last",
        ],
        "encoders": {"small": {"language": "en", "overrides": ["data.max_length=16"]}},
        "data": {"first": {"language": "en", "folds": 2}, "second": {"language": "en", "folds": 2}},
        "studies": {
            "both": {
                "question": "",
                "data": ["first", "second"],
                "updates": [3],
                "tricks": {"mixup": None, "swa": None},
            }
        },
        "left_out": {},
    }
    return write("atlas.yaml", yaml.safe_dump(atlas))


def start(declaration: Path, rows: str, *arguments: str) -> subprocess.Popen[str]:
    folder = declaration.parent
    words = [sys.executable, "scripts/atlas.py", "--declaration", declaration, "run", "--data", folder / "data"]
    words += ["--rows", folder / rows, "--work", folder / f"work-{rows}", "--device", "cpu", "--threads", "1"]
    return subprocess.Popen([*map(str, words), *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=-1)


def scores(folder: Path) -> dict[Key, Result]:
    """The finished runs without what they cost, which differs."""
    results = read_results(folder)
    return {key: replace(each, seconds=0, wall=0, memory=0) for key, each in results.items()}


@pytest.mark.slow
def test_a_killed_atlas_goes_on_to_the_same_rows(small_atlas: Path) -> None:
    folder = small_atlas.parent
    killed = start(small_atlas, "killed", "--processes", "2")
    while len(read_results(folder / "killed")) < 2 and killed.poll() is None:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert 2 <= len(read_results(folder / "killed")) < 8
    with (folder / "killed" / "small.csv").open("a") as file:
        file.write("small,first,3,cut o")  # as a kill while a line is written
    time.sleep(1.5)  # the workers of the killed process end
    output, _ = start(small_atlas, "killed", "--processes", "2").communicate()
    assert "8 of 8 runs are finished, 0 failed" in output
    whole, _ = start(small_atlas, "whole").communicate()
    assert "8 of 8 runs are finished, 0 failed" in whole
    assert scores(folder / "killed") == scores(folder / "whole")
    assert not list((folder / "work-killed" / "runs").iterdir())


@pytest.mark.slow
def test_a_budget_that_is_over_leaves_complete_blocks(small_atlas: Path) -> None:
    output, _ = start(small_atlas, "rows", "--budget", "0.001").communicate()
    assert "0 of 8 runs are finished, 0 failed" in output
