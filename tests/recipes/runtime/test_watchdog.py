"""A worker ends with the process that has started it, however many processes are between them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from recipes.runtime.watchdog import end_with, is_alive
from recipes.testing import TINY, make_text_file

ROOT = Path(__file__).parents[3]
# The starter, a process between them, the worker, and a process that the worker has started.
CODE = """
import os, subprocess, sys, time
sys.path.insert(0, {root!r})
role, starter = sys.argv[1], sys.argv[2]
further = {{"starter": "between", "between": "worker", "worker": "helper"}}.get(role)
if further:
    subprocess.Popen([sys.executable, __file__, further, str(os.getpid()) if role == "starter" else starter])
if role == "worker":
    from recipes.runtime.watchdog import end_with
    end_with(int(starter))
time.sleep(60)
"""


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    assert condition()


def test_a_worker_ends_with_its_starter_and_takes_its_helpers_along(tmp_path: Path) -> None:
    (tmp_path / "tree.py").write_text(CODE.format(root=str(ROOT)))
    starter = subprocess.Popen([sys.executable, str(tmp_path / "tree.py"), "starter", ""])
    tree = psutil.Process(starter.pid)
    wait_until(lambda: len(tree.children(recursive=True)) == 3, 30)
    between, worker, helper = sorted(tree.children(recursive=True), key=lambda each: len(each.parents()))
    time.sleep(1.5)
    assert all(map(is_alive, (between, worker, helper)))
    starter.kill()
    try:
        wait_until(lambda: not is_alive(worker) and not is_alive(helper), 10)
        assert is_alive(between), "it watches nobody"
    finally:
        between.kill()
        starter.wait()


def test_a_process_does_not_watch_itself_or_a_stranger() -> None:
    before = psutil.Process().num_threads()
    end_with(os.getpid())
    end_with(2**22)
    assert psutil.Process().num_threads() == before


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib_workers", "basic"])
def test_a_killed_study_leaves_no_worker_behind(tmp_path: Path, launcher: str) -> None:
    files = [f"data.{split}={make_text_file(30)}" for split in ("train", "validation", "test")]
    command = [
        *(sys.executable, str(ROOT / "train.py"), "-m", "hydra/sweeper=ablation", f"hydra/launcher={launcher}"),
        *(f"hydra.sweep.dir={tmp_path / 'study'}", "hydra.sweeper.confirm=false", "+tricks=[mixup,swa]", *TINY, *files),
        *("train.max_updates=5000", "train.epochs=2000", "train.threads=1"),
    ]
    with (tmp_path / "output.txt").open("w") as output:
        study = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        histories = (tmp_path / "study").glob
        wait_until(lambda: study.poll() is not None or any(histories("*/history.jsonl")), 300)
        assert study.poll() is None, (tmp_path / "output.txt").read_text()
        workers = psutil.Process(study.pid).children(recursive=True)
    finally:
        study.kill()
        study.wait()
    assert workers or launcher == "basic"
    wait_until(lambda: not any(map(is_alive, workers)), 30)
