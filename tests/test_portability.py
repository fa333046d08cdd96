"""What only POSIX has is asked for nowhere but where it may be missing: no Windows is at hand, so it is taken away."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.testing import TINY, make_text_file

ROOT = Path(__file__).parents[1]
MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
FUNCTIONS = ("fork", "geteuid", "getuid", "killpg", "sched_getaffinity", "sysconf", "uname", "wait4", "waitpid")
SIGNALS = ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2")
# Where Linux alone is meant, and why that harms nobody.
EXCEPTIONS = {
    ("recipes/runtime/memory.py", "resource"): "Windows has a figure of its own, which is taken where this is missing",
    ("recipes/testing.py", "fork"): "the laws of tricks run on Linux and macOS",
    ("recipes/testing.py", "waitpid"): "the same",
    ("recipes/testing.py", "SIGKILL"): "the same",
}
# Other packages have what they need of POSIX before it is taken away.
PROGRAM = f"""
import importlib, os, pkgutil, signal, sys, warnings
import accelerate, datasets, filelock, hydra, matplotlib.pyplot, psutil, sklearn, torch, torch.utils.tensorboard
from transformers import AutoTokenizer, BertForSequenceClassification, PreTrainedModel
for name in {MODULES}:
    sys.modules[name] = None
for name in {FUNCTIONS}:
    delattr(os, name)
for name in {SIGNALS}:
    delattr(signal, name)
warnings.filterwarnings("error", category=EncodingWarning, module="recipes|tricks|hydra_plugins|__main__")
for package in ("recipes", "tricks", "hydra_plugins.trickbook_ablation"):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{{package}}."):
        if found.name != "recipes.commands.__main__":
            importlib.import_module(found.name)
from recipes.commands.trickbook import main
folder, source, *overrides = sys.argv[1:]
main(["train", *overrides])
main(["predict", folder, source, folder + ".csv", "--memory-limit=64GB"])
main(["report", folder])
"""


def find_uses(path: Path) -> Iterator[str]:
    """Yield each module, function and signal of POSIX alone that a file uses."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            of_os = node.module in ("os", "signal")
            yield from (alias.name for alias in node.names if of_os and alias.name in (*FUNCTIONS, *SIGNALS))
            yield from (name for name in [node.module] if name in MODULES)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("os", "signal"):
            yield from (name for name in [node.attr] if name in (*FUNCTIONS, *SIGNALS))


def test_what_only_posix_has_is_used_where_that_has_a_reason() -> None:
    paths = [path for folder in ("recipes", "tricks", "hydra_plugins") for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 150
    uses = {(path.relative_to(ROOT).as_posix(), name) for path in paths for name in find_uses(path)}
    assert uses == set(EXCEPTIONS)


def test_no_file_has_a_name_that_windows_refuses() -> None:
    folders = ("conf", "docs", "hydra_plugins", "recipes", "scripts", "tests", "tricks")
    names = [path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*")]
    assert len(names) > 400
    assert [name for name in names if set(name) & set('<>:"|?*\\') or name.endswith((" ", "."))] == []
    assert len({name.lower() for name in names}) == len(names)


@pytest.mark.slow
def test_it_trains_and_predicts_without_what_only_posix_has(tmp_path: Path) -> None:
    source, folder = make_text_file(9), tmp_path / "run"
    overrides = [*TINY, f"data.train={source}", "train.max_updates=2", "+tricks=[mixup,ema]", f"hydra.run.dir={folder}"]
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", PROGRAM, str(folder), str(source), *overrides],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "report.html").is_file() and (tmp_path / "run.csv").is_file()
