"""The script that compares rotating folds with one split on trained heads: heads, scores and the summary, on noise."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def heads(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("fold_heads")


def test_scores_of_rows_are_exact(heads: ModuleType) -> None:
    scores = heads.score(torch.tensor([[[0.8, 0.2], [0.3, 0.7]]]), torch.tensor([0, 0]))
    assert scores[:, 0] == pytest.approx(
        np.array([[1, 0], [-(0.2**2) * 2, -(0.7**2) * 2], [np.log(0.8), np.log(0.3)]]), abs=1e-6
    )


def test_a_sample_gives_both_designs_and_the_heads_learn(heads: ModuleType) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(2, size=1000)
    vectors = random.standard_normal((1000, 20)) + labels[:, None] * 1.5
    rows = heads.Rows(torch.from_numpy(vectors).float(), torch.from_numpy(labels))
    study = heads.run_study(rows, rows, 2, *heads.DESIGNS["alone"], 0)
    assert study.values.shape == study.low.shape == (2, 3, 3) and study.truth.shape == (3, 3)
    assert study.base[0] > 0.9 and (study.low <= study.values).all() and (study.values <= study.high).all()


def test_the_ratio_is_that_of_the_variances(heads: ModuleType) -> None:
    random = np.random.default_rng(0)
    studies = []
    for _ in range(400):
        # One split has twice the standard deviation of rotating folds; the truth is 0.
        values = random.standard_normal((2, 3, 3)) * np.array([2.0, 1.0])[:, None, None]
        half = 1.96 * np.array([1.0, 1.0])[:, None, None] * np.ones((2, 3, 3))
        studies.append(heads.Study(values, values - half, values + half, np.zeros((3, 3)), np.zeros(3)))
    lines: list[dict[str, Any]] = list(heads.summarize("noise", "alone", studies))
    together = [line for line in lines if line["trick"] == "all"]
    assert len(lines) == 12 and [line["metric"] for line in together] == ["accuracy", "brier", "loss"]
    for line in together:
        assert float(line["ratio"]) == pytest.approx(4, abs=4 * float(line["ratio_error"]))
        assert float(line["coverage_rotating"]) == pytest.approx(0.95, abs=0.03)
        assert float(line["coverage_split"]) == pytest.approx(0.67, abs=0.06)
        assert line["half_width_rotating"] == "1.96000"
