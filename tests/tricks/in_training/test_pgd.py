"""PGD: the whole gradient against one written by hand; `test_fgm.py` has what all attacks share."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tricks.in_training.test_fgm import gap, plain
from tricks.in_training.pgd import Pgd

VALUES = ["tricks.pgd.epsilon=0.5", "tricks.pgd.alpha=0.2", "tricks.pgd.count=4"]


def test_pgd(tmp_path: Path) -> None:
    assert gap(tmp_path, [(0.2, 0.5)] * 4, plain, "+tricks=[pgd]", *VALUES) < 1e-12


def test_fewer_steps_lead_elsewhere(tmp_path: Path) -> None:
    assert gap(tmp_path, [(0.2, 0.5)] * 3, plain, "+tricks=[pgd]", *VALUES) > 1e-6


def test_one_step_to_the_edge_is_fgm(tmp_path: Path) -> None:
    values = ["tricks.pgd.epsilon=0.5", "tricks.pgd.alpha=3", "tricks.pgd.count=1"]
    assert gap(tmp_path, [(0.5, 0.5)], plain, "+tricks=[pgd]", *values) < 1e-12


def test_pgd_on_the_matrix_is_the_code_in_wide_use(tmp_path: Path) -> None:
    settings = ["+tricks=[pgd]", *VALUES, "tricks.pgd.scope=matrix", "tricks.pgd.epsilon=0.25"]
    assert gap(tmp_path, [(0.2, 0.25)] * 4, plain, *settings) < 1e-12
    assert gap(tmp_path, [(0.2, 0.3)] * 4, plain, *settings) > 1e-6


@pytest.mark.parametrize(
    ("alpha", "epsilon", "is_reported"), [(0.03, 0.02, True), (0.02, 0.02, False), (0.01, 0, False)]
)
def test_a_step_longer_than_the_radius_is_reported(alpha: float, epsilon: float, is_reported: bool) -> None:
    run: Any = SimpleNamespace()
    messages = list(Pgd(scope="text", epsilon=epsilon, start=0.0, alpha=alpha, count=3).check(run))
    assert bool(messages) == is_reported
    for message in messages:
        assert "tricks.pgd.alpha=0.03, the length of a step, is more than epsilon=0.02" in message
        assert message.endswith("; tricks.pgd.alpha=0.01.")
