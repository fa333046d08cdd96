"""Real processes: torchrun, and SIGKILL from outside, with one trick of each stage."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from recipes.errors import UserError
from recipes.runtime.distributed import connect, is_first, say, uses_cpu, wait_for_all
from recipes.testing import TINY, comparable_contents, make_text_file

ROOT = Path(__file__).parents[3]
FILES = [f"data.{split}={make_text_file(30)}" for split in ("train", "validation", "test")]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def train_command(folder: Path, *overrides: str) -> list[str]:
    return [str(ROOT / "train.py"), *TINY, *FILES, *overrides, f"hydra.run.dir={folder}"]


def read_losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "split" not in line]


@pytest.mark.slow
def test_torchrun_makes_the_same_run(tmp_path: Path) -> None:
    # The measured precision may depend on the threads of a process, and bf16 rounds more than this tolerance.
    overrides = ["+tricks=[accumulate,amp,mixup,swa]", "model.dropout=0.0", "tricks.amp.precision=fp32"]
    alone = subprocess.run(
        [sys.executable, *train_command(tmp_path / "alone", *overrides)],
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
            *train_command(tmp_path / "together", *overrides, "train.device=auto"),
        ],
        env={**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("scores: ") == 1
    one, two = read_losses(tmp_path / "alone"), read_losses(tmp_path / "together")
    assert len(one) == len(two) == 20
    assert max(abs(each - other) for each, other in zip(one, two, strict=True)) < 1e-5
    scores = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("alone", "together")]
    assert scores[0]["test"].keys() == scores[1]["test"].keys()
    assert scores[0]["test"]["loss"] == pytest.approx(scores[1]["test"]["loss"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("trick", ["none", "mixup", "swa"])
def test_a_killed_run_is_resumed(tmp_path: Path, trick: str) -> None:
    tricks = [] if trick == "none" else [f"+tricks=[{trick}]"]
    overrides = [*tricks, "train.max_updates=400", "train.epochs=70", "checkpoint.every=3", "checkpoint.min_seconds=0"]
    uninterrupted = subprocess.run(
        [sys.executable, *train_command(tmp_path / "uninterrupted", *overrides)],
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    assert uninterrupted.returncode == 0
    command = [sys.executable, *train_command(tmp_path / "killed", *overrides)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "killed").glob("checkpoints/0*.safetensors")) and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
    resumed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after update" in resumed.stdout
    one, other = comparable_contents(tmp_path / "uninterrupted"), comparable_contents(tmp_path / "killed")
    for name in one:
        assert one[name] == other[name], name


def test_processes_that_cannot_work_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"2 processes .* fewer GPUs \(1\); .*--nproc-per-node=1"):
        connect("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("accelerate.PartialState", lambda cpu: SimpleNamespace(num_processes=1))
    with pytest.raises(UserError, match="^train.device=mps: .* set train.device=auto"):
        connect("mps")


def test_the_cpu_is_asked_for_only_where_processes_would_not_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert uses_cpu("cpu") and not uses_cpu("auto") and not uses_cpu("cuda")
    monkeypatch.setenv("RANK", "0")
    assert uses_cpu("cpu") and uses_cpu("auto") and not uses_cpu("cuda")
    for kind in ("cuda", "mps"):
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device(kind))  # noqa: B023
        assert uses_cpu("auto") == (kind == "mps")


def test_only_the_first_process_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert is_first() == (rank == "0")
        say(f"rank {rank}")
    monkeypatch.delenv("RANK")
    assert is_first()
    say("alone")
    wait_for_all()  # a single process does not wait
    assert capsys.readouterr().out == "rank 0\nalone\n"
