"""Settings of all tests (one thread, no hub, a separate cache) and shared fixtures."""

import atexit
import gc
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRICKBOOK_CACHE"] = tempfile.mkdtemp(prefix="trickbook-caches-")
os.environ["HF_DATASETS_CACHE"] = os.environ["TRICKBOOK_CACHE"] + "/datasets"
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

# Heavy packages are imported in the fixtures below: the process that only deals tests out to others needs none of them.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

atexit.register(shutil.rmtree, os.environ["TRICKBOOK_CACHE"], ignore_errors=True)
# What is imported and collected stays; `warmed_process` enables it again.
gc.disable()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Forked children hang if this process has ever computed on several threads."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cpu_without_bf16() -> Iterator[None]:
    """No measurement decides in which precision the runs of tests are trained."""
    from recipes.runtime import precision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "measure_cpu", lambda: precision.Measurement(fp32=1.0, bf16=2.0))
        yield


# What makes the pictures of a run.
PICTURES = ("draw_learning_curve", "draw_confusion")
BLANK = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="session", autouse=True)
def blank_pictures() -> Iterator[list[tuple[Any, str, Any]]]:
    """A PNG has no more than its first bytes, which saves a third of a short run; `real_pictures` undoes it.

    Yields what is replaced: where, the name, and the original.
    """
    from matplotlib.figure import Figure

    from recipes.reports import results

    places = [(Figure, "savefig"), *((results, name) for name in PICTURES)]
    originals = [(owner, name, getattr(owner, name)) for owner, name in places]
    draw = Figure.savefig

    def save(figure: "Figure", path: Any, **options: Any) -> None:
        if options["format"] == "png":
            Path(path).write_bytes(BLANK)
        else:
            draw(figure, path, **options)

    def write_blank(*arguments: Any) -> None:
        arguments[-1].write_bytes(BLANK)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        for name in PICTURES:
            patch.setattr(results, name, write_blank)
        yield originals


@pytest.fixture
def real_pictures(monkeypatch: pytest.MonkeyPatch, blank_pictures: list[tuple[Any, str, Any]]) -> None:
    """Figures are drawn."""
    for owner, name, original in blank_pictures:
        monkeypatch.setattr(owner, name, original)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """A process that is killed loses nothing that it has written, so tests of kills need no `fsync`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def warmed_process(one_thread: None, blank_pictures: object, no_waiting_for_the_disk: None) -> None:
    """Where a selected test may fork, its children find all imported; no patch of a test is at work yet."""
    if "recipes.testing" in sys.modules:
        sys.modules["recipes.testing"].warm_up()
    gc.collect()
    gc.freeze()  # no later collection looks through all that was imported
    gc.enable()


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Import one of `scripts/` by its name."""

    def import_script(name: str) -> ModuleType:
        path = Path(__file__).parents[1] / "scripts" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return import_script


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file into this test's folder."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file
