"""The estimate of what a run needs on the disk, and how it is shown."""

import shutil
from pathlib import Path

import pytest

from recipes.runs.space import (
    OF_A_CLASS,
    OF_A_ROW,
    OF_AN_UPDATE,
    OF_FILES,
    describe_bytes,
    estimate,
    free_bytes,
    size_of,
)
from recipes.testing import tiny_config

FILES = 10 * OF_AN_UPDATE + 5 * (OF_A_ROW + 3 * OF_A_CLASS) + OF_FILES


@pytest.mark.parametrize(
    ("overrides", "checkpoints", "best", "model", "stays"),
    [
        ([], 3, 1, 1, 0),
        (["checkpoint.keep=1", "evaluate.weights=last"], 2, 0, 1, 0),
        (["checkpoint.save_model=false"], 3, 1, 0, 0),
        (["checkpoint.after_finish=keep"], 3, 1, 1, 2),
    ],
)
def test_what_a_run_needs(overrides: list[str], checkpoints: int, best: int, model: int, stays: int) -> None:
    # 100 bytes of weights, of which 60 are trained and have two moments each.
    need = estimate(tiny_config(*overrides), 100, 60, updates=10, rows=5, classes=3)
    result = 100 * model + FILES
    assert need.checkpoint == 220
    assert need.most == 220 * checkpoints + 100 * best + result
    assert need.result == result + 220 * stays + (100 * best if stays else 0)


def test_the_free_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    requested: list[Path] = []

    def disk_usage(path: Path) -> object:
        requested.append(path)
        return usage._replace(free=7)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    assert free_bytes(tmp_path / "a" / "b") == 7 and requested == [tmp_path]


def test_the_size_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    (tmp_path / "c").write_bytes(b"1")
    assert size_of(tmp_path) == 6


@pytest.mark.parametrize(("count", "text"), [(0, "0 MB"), (1, "1 MB"), (2_000_001, "3 MB"), (1.25e9, "1.2 GB")])
def test_bytes_in_words(count: float, text: str) -> None:
    assert describe_bytes(count) == text
