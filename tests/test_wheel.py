"""The wheel: what is in it, and that it works from any folder with the user's own class next to it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from recipes.testing import make_text_file

ROOT = Path(__file__).parents[1]
SOURCES = ("recipes", "tricks", "conf", "hydra_plugins")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt")
START = "from recipes.commands.trickbook import main; main()"
MY_TRICK = """
from dataclasses import dataclass
from recipes import Trick, allowed

@dataclass
class Lower(Trick):
    times: int = allowed("[0, 9]")
    slots = {"clean": "clean"}
    neutral = {"times": 0}

    def clean(self, run, inner, text):
        return inner(text).lower() if self.times else inner(text)
"""

pytestmark = pytest.mark.slow


def list_sources() -> set[str]:
    """The files of the checkout that belong into a wheel, under the names that they have there."""
    paths = [path.relative_to(ROOT) for folder in SOURCES for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = {path.as_posix() for path in paths if "__pycache__" not in path.parts}
    return {f"recipes/{name}" if name.startswith("conf/") else name for name in names}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, in which an earlier build has left a file that is gone since."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in ("tricks/gone.py", "recipes/conf/gone.yaml"):
        path = folder / "build" / "lib" / name
        path.parent.mkdir(parents=True)
        path.write_text("", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", str(folder / "dist"), str(folder)], check=True)
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is in the wheel, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_the_wheel_has_every_file_and_no_other(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    metadata = {name for name in names if ".dist-info/" in name}
    assert set(names) - metadata == list_sources()
    assert {name.partition("/")[0] for name in set(names) - metadata} == {"hydra_plugins", "recipes", "tricks"}
    entry_points = next(name for name in metadata if name.endswith("entry_points.txt"))
    line = "trickbook = recipes.commands.trickbook:main"
    assert line in zipfile.ZipFile(wheel).read(entry_points).decode()


def test_it_works_from_any_folder(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a folder 文件夹"
    (folder / "conf" / "tricks").mkdir(parents=True)
    shutil.copy(make_text_file(9), folder / "评论 1.csv")
    (folder / "my_tricks.py").write_text(MY_TRICK, encoding="utf-8")
    lines = "# @package tricks.lower\n_target_: my_tricks.Lower\ntimes: 1 # how often\n"
    (folder / "conf" / "tricks" / "lower.yaml").write_text(lines, encoding="utf-8")
    version = run(installed, folder, "--version")
    assert f" in {installed} " in version.stdout, version.stderr
    own = ["--config-dir", "conf", "+tricks=[lower,mixup]", "model=tiny", "data=files", "data.train=评论 1.csv"]
    workers = ["-m", "hydra/launcher=joblib_workers", "hydra.launcher.n_jobs=2", "hydra.sweep.subdir=一 次"]
    done = run(installed, folder, "train", *own, "train.threads=1", "train.max_updates=2", *workers)
    assert done.returncode == 0, done.stderr
    assert "To make it first: trickbook train --config-dir" in done.stdout
    predicted = run(installed, folder, "predict", "--config-dir", "conf", "runs/一 次", "评论 1.csv", "out.csv")
    assert predicted.returncode == 0, predicted.stderr
    refused = run(installed, folder, "predict", "runs/一 次", "评论 1.csv", "out2.csv")
    assert refused.returncode == 2 and "tricks.lower._target_=my_tricks.Lower is not trusted" in refused.stderr
    plan = run(installed, folder, "train", *own, "-m", "hydra/sweeper=ablation", "hydra.sweeper.plan=true")
    assert plan.returncode == 0 and "lower" in plan.stdout, plan.stderr
