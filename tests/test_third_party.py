"""The worked example of docs/third_party, run from outside the tree: with pytest, and by hand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.testing import make_text_file

ROOT = Path(__file__).parents[1]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "docs" / "third_party", tmp_path / "theirs"))


@pytest.mark.slow
def test_it_passes_the_laws(theirs: Path) -> None:
    (theirs / "conftest.py").write_text("import torch\n\ntorch.set_num_threads(1)\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(theirs)],
        cwd=theirs,
        env=environment(theirs),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "20 passed" in done.stdout


@pytest.mark.slow
def test_it_runs_from_the_command_line(theirs: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "--config-dir", str(theirs / "conf"), "+tricks=[cutoff,mixup]"]
    values = ["model=tiny", "data=files", f"data.train={make_text_file(12)}", "train.max_updates=3"]
    done = subprocess.run(
        [*command, *values, "tricks.cutoff.fraction=0.3", f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=tmp_path,
        env=environment(theirs),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cutoff" in done.stdout
    refusal = subprocess.run(
        [*command, *values, "tricks.cutoff.fraction=1.5", "tricks.cutoff.fractio=0"],
        cwd=tmp_path,
        env=environment(theirs),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refusal.returncode == 2
    assert "tricks.cutoff.fractio" in refusal.stderr and "Traceback" not in refusal.stderr
