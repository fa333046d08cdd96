"""PGD: the whole gradient against one written by hand; `test_fgm.py` has what all attacks share."""

from pathlib import Path

from tests.tricks.in_training.test_fgm import gap, plain

VALUES = ["tricks.pgd.epsilon=0.5", "tricks.pgd.alpha=0.2", "tricks.pgd.count=4"]


def test_pgd(tmp_path: Path) -> None:
    assert gap(tmp_path, [(0.2, 0.5)] * 4, plain, "+tricks=[pgd]", *VALUES) < 1e-12


def test_fewer_steps_lead_elsewhere(tmp_path: Path) -> None:
    assert gap(tmp_path, [(0.2, 0.5)] * 3, plain, "+tricks=[pgd]", *VALUES) > 1e-6


def test_one_step_to_the_edge_is_fgm(tmp_path: Path) -> None:
    values = ["tricks.pgd.epsilon=0.5", "tricks.pgd.alpha=3", "tricks.pgd.count=1"]
    assert gap(tmp_path, [(0.5, 0.5)], plain, "+tricks=[pgd]", *values) < 1e-12
