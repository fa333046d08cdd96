"""Balanced batches: how often each row comes, and what stands in a batch."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipes import UserError
from tricks.pre_training.balanced_batches import BalancedBatches

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 6)


def draw_rows(balance: float, seed: int = 0) -> np.ndarray:
    return BalancedBatches(balance).draw_rows(LABELS, np.random.default_rng(seed))


def counts_of(rows: np.ndarray) -> list[int]:
    counts: list[int] = np.bincount(LABELS[rows], minlength=3).tolist()
    return counts


def test_equal_class_fractions() -> None:
    assert counts_of(draw_rows(1.0)) == [32, 32, 32]


def test_intermediate_class_fractions() -> None:
    roots = np.sqrt([60, 30, 6])
    assert counts_of(draw_rows(0.5)) == pytest.approx((roots / roots.sum() * 96).tolist(), abs=1)
    assert len(draw_rows(0.5)) == 96


def test_rows_of_a_class_come_equally_often_but_for_the_last_time() -> None:
    times = np.bincount(draw_rows(1.0), minlength=96)
    assert set(times[:60]) == {0, 1}
    assert set(times[60:90]) == {1, 2}
    assert set(times[90:]) == {5, 6}


def test_other_epochs_draw_other_rows() -> None:
    assert set(draw_rows(1.0, 0)) != set(draw_rows(1.0, 1))


def run_of(multi_label: bool = False) -> Any:
    config = SimpleNamespace(seeds=SimpleNamespace(order=0), train=SimpleNamespace(batch_size=12), tricks={})
    return SimpleNamespace(config=config, multi_label=multi_label)


def test_every_batch_has_the_epochs_mix() -> None:
    dataset: Any = SimpleNamespace(labels=LABELS, lengths=np.random.default_rng(0).integers(4, 50, 96))
    result = BalancedBatches(1.0).batches(run_of(), None, dataset, 3)  # type: ignore[arg-type]
    assert len(result) == 8
    assert sorted(np.concatenate(result.plan)) != list(range(96))
    for rows in result.plan:
        assert len(rows) == 12
        assert all(3 <= count <= 5 for count in counts_of(rows))
    again = BalancedBatches(1.0).batches(run_of(), None, dataset, 3)  # type: ignore[arg-type]
    assert [rows.tolist() for rows in again.plan] == [rows.tolist() for rows in result.plan]


def test_multi_label_rows_are_refused() -> None:
    with pytest.raises(UserError, match=r"tricks\.balanced_batches: rows have several labels here"):
        BalancedBatches(1.0).batches(run_of(True), None, None, 0)  # type: ignore[arg-type]
