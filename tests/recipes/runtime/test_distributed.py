"""Real processes: torchrun, and SIGKILL from outside, one trick of each stage."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recipes.testing import TINY, comparable_contents, make_text_file

ROOT = Path(__file__).parents[3]
FILES = [f"data.{split}={make_text_file(30)}" for split in ("train", "validation", "test")]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def train(folder: Path, *overrides: str) -> list[str]:
    return [str(ROOT / "train.py"), *TINY, *FILES, *overrides, f"hydra.run.dir={folder}"]


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "split" not in line]


@pytest.mark.slow
def test_torchrun_makes_the_same_run(tmp_path: Path) -> None:
    overrides = ["+tricks=[accumulate,amp,mixup,swa]", "model.dropout=0.0"]
    alone = subprocess.run(
        [sys.executable, *train(tmp_path / "alone", *overrides)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    together = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            *train(tmp_path / "together", *overrides),
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("finished") == 1
    one, two = losses(tmp_path / "alone"), losses(tmp_path / "together")
    assert len(one) == len(two) == 20
    assert max(abs(each - other) for each, other in zip(one, two, strict=True)) < 1e-5
    scores = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("alone", "together")]
    assert scores[0]["test"].keys() == scores[1]["test"].keys()
    assert scores[0]["test"]["loss"] == pytest.approx(scores[1]["test"]["loss"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("trick", ["none", "mixup", "swa"])
def test_a_killed_process_goes_on(tmp_path: Path, trick: str) -> None:
    tricks = [] if trick == "none" else [f"+tricks=[{trick}]"]
    overrides = [*tricks, "train.max_updates=400", "train.epochs=70", "checkpoint.every=3"]
    whole = subprocess.run(
        [sys.executable, *train(tmp_path / "whole", *overrides)], env=ENVIRONMENT, capture_output=True, check=False
    )
    assert whole.returncode == 0
    command = [sys.executable, *train(tmp_path / "killed", *overrides)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "killed").glob("checkpoints/0*.safetensors")) and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "going on after update" in again.stdout
    one, other = comparable_contents(tmp_path / "whole"), comparable_contents(tmp_path / "killed")
    for name in one:
        assert one[name] == other[name], name
