"""Heavy packages are imported when they are needed: which ones are loaded at some moments of a fresh process."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from recipes.runs.folder import RunFolder
from recipes.testing import TINY, finished_run, make_text_file
from tests.sampling import slow

ROOT = Path(__file__).parents[1]
# Each takes a third of a second or more.
COMPUTING = ("torch", "transformers", "datasets", "accelerate", "pandas")
SCORING = ("sklearn", "scipy.stats", "matplotlib", "tensorboard")
PROGRAM = """
import atexit, json, os, runpy, sys
sys.argv = json.loads(sys.argv[1])
sys.path.insert(0, os.getcwd())
def report():
    sys.stdout.flush()
    print("LOADED", json.dumps(sorted(sys.modules)), flush=True)
atexit.register(report)
if "STOP" in os.environ:
    import recipes.loop
    recipes.loop.TrainingRun._step = lambda run, batch: (report(), os._exit(0))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def loaded_packages(arguments: Sequence[str], **environment: str) -> tuple[list[str], str]:
    """Run a program in a fresh process.

    Returns:
        The heavy packages that were loaded at its end, or at its first update, and all that it printed.
    """
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    output, _, modules = result.stdout.rpartition("LOADED ")
    return sorted({*COMPUTING, *SCORING} & set(json.loads(modules))), output + result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        slow(["train.py", "trian.epochs=1"], "trian"),
        (["train.py", "data=files", "data.train=none.csv", "+tricks=[amp]"], "none.csv: there is no such file"),
        (["scripts/predict.py", "runs/none", "a.csv", "b.csv"], "runs/none holds no finished run"),
        slow(["scripts/doctor.py", "runs/none"], "runs/none"),
        slow(["scripts/report.py", "runs/none"], "runs/none holds no finished run"),
        slow(["recipes/commands/trickbook.py", "train", "trian.epochs=1"], "trian"),
        slow(["recipes/commands/trickbook.py", "tricks"], "mixup"),
        slow(["train.py", "--help"], "train.batch_size=32"),
    ],
)
def test_a_mistake_is_answered_before_anything_heavy_is_loaded(arguments: list[str], expected: str) -> None:
    loaded, output = loaded_packages(arguments)
    assert loaded == []
    assert expected in output


def test_a_finished_run_is_shown_before_anything_heavy_is_loaded() -> None:
    folder = finished_run()
    data = RunFolder(folder).config["data"]
    files = [f"data.{split}={data[split]}" for split in ("train", "validation", "test")]
    loaded, output = loaded_packages(["train.py", *TINY, *files, "train.max_updates=2", f"hydra.run.dir={folder}"])
    assert f"{folder} is finished already" in output
    assert loaded == []


@pytest.mark.slow
def test_the_first_update_starts_without_what_scores_and_pictures_need(tmp_path: Path) -> None:
    arguments = [*TINY, f"data.train={make_text_file(9)}", "doctor=cheap", f"hydra.run.dir={tmp_path}/run"]
    loaded, output = loaded_packages(["train.py", *arguments], STOP="1")
    assert "order of tricks" in output
    assert not set(loaded) & set(SCORING)
