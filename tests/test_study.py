"""Studies from the command line, with a tiny model: from the overrides to the recipe that can be run."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.testing import made_up_text

ROOT = Path(__file__).parents[1]


def command(*overrides: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "train.py"), *overrides]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)


def files() -> list[str]:
    splits = zip(("train", "validation", "test"), (20, 12, 12), strict=True)
    return ["data=files", *(f"data.{split}={made_up_text(rows, seed)}" for seed, (split, rows) in enumerate(splits))]


@pytest.mark.slow
def test_a_study_from_its_overrides_to_the_recipe(tmp_path: Path) -> None:
    base = ["model=tiny", *files(), "train.max_updates=30", "train.batch_size=16", "evaluate.keep=last", "doctor=off"]
    asked = ["-m", "hydra/sweeper=ablation", "+tricks=[normalize]", "train.learning_rate=0,3e-3", *base,
             f"hydra.sweep.dir={tmp_path / 'study'}"]  # fmt: skip
    done = command(*asked)
    assert done.returncode == 0, done.stderr
    # These texts are clean already.
    assert "normalize changes nothing at all" in done.stdout, done.stdout
    assert "train.learning_rate=0.003 (+" in done.stdout and "helps" in done.stdout, done.stdout
    assert "With fresh seeds" in done.stdout and "opened once" in done.stdout
    with (tmp_path / "study" / "runs.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    # Four arms of three seeds; then the recipe and the base with fresh ones.
    assert len(rows) == 12 + 6 and {row["status"] for row in rows} == {"finished"}
    assert {row["seed"] for row in rows} == {"0", "1", "2", "3", "4", "5"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "study").glob("*/metrics.json")}
    assert len(before) == len(rows)
    assert "All runs" in (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    again = command(*asked)
    assert again.returncode == 0 and before == {path: path.stat().st_mtime_ns for path in before}
    ready = [
        f"--config-dir={tmp_path / 'study' / 'conf'}",
        "recipe=recommended",
        *base,
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    done = command(*ready, "train.max_updates=1")
    assert done.returncode == 0, done.stderr
    assert "learning_rate: 0.003" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
