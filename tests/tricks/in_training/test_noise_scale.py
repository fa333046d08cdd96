"""Noise scale: what it finds where signal and noise are known, what it says, and that training stays as it is."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recipes.data.batch import Batch, Loss
from recipes.testing import NO_DROPOUT, compute_gradients, difference, float64, in_child, tiny_config, tiny_run
from tests.sampling import slow
from tricks.in_training.noise_scale import NoiseScale

DIMENSIONS, ROWS = 12, 8


def make_batch(index: int, documents: torch.Tensor | None = None, rows: int = ROWS) -> Batch:
    weights = torch.ones(rows, dtype=torch.float64)
    if documents is not None:
        weights = 1 / documents.bincount()[documents].double()
    return Batch(
        [str(row) for row in range(rows)],
        {"input_ids": torch.arange(rows)[:, None]},
        torch.ones(rows, dtype=torch.long),
        torch.ones(rows, 1),
        weights,
        float(weights.sum()),
        0,
        index,
        documents=documents,
    )


class Training:
    """A run whose rows have gradients of a known mean and spread."""

    def __init__(self, signal: float, spread: float, scale: float | None = None) -> None:
        self.signal, self.spread, self.scale = signal, spread, scale
        self.parameters = [nn.Parameter(torch.zeros(DIMENSIONS, dtype=torch.float64))]
        self.batches_done, self.total_updates = 0, 10**9
        scaler = None if scale is None else SimpleNamespace(get_scale=lambda: scale)
        self.accelerator = SimpleNamespace(scaler=scaler)
        self.logged: dict[str, float] = {}
        self.halves: list[list[int]] = []

    def generator(self, purpose: str, batch: Batch) -> np.random.Generator:
        return np.random.default_rng((batch.index, 1))

    def log(self, **values: float) -> None:
        self.logged = values

    def inner(self, batch: Batch) -> Loss:
        names = batch.inputs["input_ids"][:, 0].tolist()
        self.halves.append(names)
        (weight,) = self.parameters
        rows = np.random.default_rng((self.batches_done, 2)).normal(size=(64, DIMENSIONS)) * self.spread
        rows[:, 0] += self.signal
        fraction = batch.weights.numpy() / batch.total
        gradient = torch.from_numpy((fraction[:, None] * rows[names]).sum(0)) * (self.scale or 1.0)
        weight.grad = gradient if weight.grad is None else weight.grad + gradient
        return Loss(fraction.sum(), fraction.sum())

    def go(self, trick: NoiseScale, updates: int) -> None:
        run: Any = self
        for _ in range(updates):
            self.parameters[0].grad = None
            trick.gradient(run, self.inner, make_batch(self.batches_done))
            self.batches_done += 1


@pytest.mark.slow
@pytest.mark.parametrize("scale", [None, 1024.0])
def test_a_known_noise_scale_is_measured(scale: float | None) -> None:
    """|G|^2 = 4, tr(Sigma) = 12 * 9 = 108, so the scale is 27."""
    trick, run = NoiseScale(every_updates=1, memory=10**6), Training(2.0, 3.0, scale)
    run.go(trick, 4000)
    assert trick.means["signal"] == pytest.approx(4.0, rel=0.05)
    assert trick.means["noise"] == pytest.approx(108.0, rel=0.05)
    assert run.logged["noise_scale"] == pytest.approx(27.0, rel=0.08)
    assert run.logged["noise_scale_low"] < 27 < run.logged["noise_scale_high"] < 1.3 * run.logged["noise_scale_low"]


def simulate(signal: float, measurements: int, memory: int, draws: np.random.Generator) -> NoiseScale:
    """A trick after measurements of rows with spread 3 in 12 dimensions, and a mean of this length."""
    trick = NoiseScale(every_updates=1, memory=memory)
    halves = draws.normal(size=(measurements, 2, DIMENSIONS)) * 3 / np.sqrt(ROWS / 2)
    halves[..., 0] += signal
    for pair in halves / 2:
        trick.measure((pair**2).sum(1).tolist(), [0.5, 0.5], float((pair.sum(0) ** 2).sum()), ROWS)
    return trick


@pytest.mark.parametrize(
    ("signal", "measurements", "memory", "bounded"),
    [
        slow(2.0, 200, 10**6, (0.95, 1.0)),
        (1.0, 60, 10**6, (0.1, 0.25)),  # the mean signal is about 1 standard error
        (0.7, 30, 10**6, (0.0, 0.1)),
        (0.3, 12, 10**6, (0.0, 0.1)),
        slow(0.7, 200, 50, (0.02, 0.2)),  # exponential average
    ],
)
def test_the_band_covers_the_truth_about_as_often_as_it_should(
    signal: float, measurements: int, memory: int, bounded: tuple[float, float]
) -> None:
    """In 95 % of runs, also where the signal is too small for an upper end."""
    truth, draws = DIMENSIONS * 9 / signal**2, np.random.default_rng(0)
    figures = [simulate(signal, measurements, memory, draws).figures() for _ in range(500)]
    covered = np.mean(
        [each.get("noise_scale_low", math.inf) <= truth <= each.get("noise_scale_high", math.inf) for each in figures]
    )
    # 3 standard errors of 500 runs are 0.03.
    assert 0.92 <= covered <= 0.98
    assert bounded[0] <= np.mean(["noise_scale_high" in each for each in figures]) <= bounded[1]


def test_a_weak_signal_gives_a_lower_bound() -> None:
    trick = simulate(0.7, 60, 50, np.random.default_rng(0))
    low = trick.figures()["noise_scale_low"]
    assert 8 < low < DIMENSIONS * 9 / 0.7**2
    assert trick.summarize(8, 1000) == (
        f"noise_scale: at least {low:.0f} rows; with batches of 8, at least {low / (low + 8):.0%} of an update's "
        "squared gradient is noise. The signal is too small for an upper bound. Measure more often "
        "(tricks.noise_scale.every_updates), average over more (tricks.noise_scale.memory), or train longer."
    )


def test_a_memory_of_one_measurement_has_no_interval() -> None:
    assert simulate(2.0, 9, 1, np.random.default_rng(0)).figures() == {}


def test_by_hand() -> None:
    """Halves of 1/4 and 3/4 with squared lengths 1 and 2, the whole 5: |G|^2 = 2 / (1 - 10/16)."""
    trick = NoiseScale(every_updates=1, memory=2)
    trick.measure([1.0, 2.0], [0.25, 0.75], 5.0, 8)
    assert trick.means["signal"] == pytest.approx(16 / 3)
    assert trick.means["noise"] == pytest.approx(8 * (5 - 16 / 3))
    for whole in (7.0, 9.0):  # the last counts half, those before it a quarter
        trick.measure([1.0, 2.0], [0.25, 0.75], whole, 8)
    assert trick.means["signal"] == pytest.approx((2 / 4 + 4 / 4 + 6 / 2) / 0.375)
    trick.measure([float("inf"), 2.0], [0.25, 0.75], 5.0, 8)
    assert trick.measured == 3


def test_windows_of_a_document_stay_together() -> None:
    documents = torch.tensor([0, 0, 0, 1, 2, 2, 3])
    run: Any = Training(1.0, 1.0)
    NoiseScale(every_updates=1, memory=9).gradient(run, run.inner, make_batch(0, documents, rows=7))
    halves = [{int(documents[row]) for row in rows} for rows in run.halves]
    assert halves[0] | halves[1] == {0, 1, 2, 3} and not halves[0] & halves[1]
    assert sum(len(rows) for rows in run.halves) == 7


def test_it_measures_now_and_then_and_never_a_single_row() -> None:
    run: Any = Training(1.0, 1.0)
    run.go(NoiseScale(every_updates=3, memory=9), 7)
    assert [len(rows) for rows in run.halves] == [4, 4, 8, 8, 4, 4, 8, 8, 4, 4]
    run.halves.clear()
    run.go(NoiseScale(every_updates=0, memory=9), 1)
    NoiseScale(every_updates=1, memory=9).gradient(run, run.inner, make_batch(0, rows=1))
    assert [len(rows) for rows in run.halves] == [8, 1]


def test_previous_gradients_stay_and_are_not_measured() -> None:
    run, trick = Training(1.0, 0.0), NoiseScale(every_updates=1, memory=9)
    run.parameters[0].grad = torch.full((DIMENSIONS,), 100.0, dtype=torch.float64)
    anything: Any = run
    trick.gradient(anything, run.inner, make_batch(0))
    assert trick.means["signal"] == pytest.approx(1.0) and trick.means["noise"] == pytest.approx(0.0)
    grad = run.parameters[0].grad
    assert grad is not None and grad.tolist() == pytest.approx([101.0] + [100.0] * (DIMENSIONS - 1))


def summary(signal: float, noise: float, batch_size: int) -> str:
    trick = NoiseScale(every_updates=1, memory=100)
    trick.measured = 100
    trick.means = {
        "signal": signal,
        "noise": noise,
        "signal_squared": 1.25 * signal**2,
        "noise_squared": 1.25 * noise**2,
        "product": signal * noise,
    }
    trick.squared_weights = 1 / 100
    return trick.summarize(batch_size, 1000, ["+tricks=[accumulate] makes them fit"])


def test_the_summary() -> None:
    assert summary(2.0, 144.0, 8) == (
        "noise_scale: about 72 rows (62 to 83); with batches of 8, 90% of an update's squared gradient is noise. So "
        "fluctuation of the loss is expected. With batches of 72 it would be 50%, and training would get as far "
        "in about 200 updates instead of 1,000, over 1.8 times the rows; set train.batch_size, and "
        "+tricks=[accumulate] makes them fit."
    )
    assert NoiseScale(every_updates=1, memory=100).summarize(8, 10).endswith("take more, or train longer.")
    assert summary(2.0, 40.0, 32).endswith("noise. Batches are large enough: larger ones would hardly smooth the loss.")
    assert summary(-2.0, 40.0, 32).startswith("noise_scale: measurements are too few")


def test_the_gradient_is_the_batchs_own(tmp_path: Path) -> None:
    def measure_difference(*overrides: str) -> dict[str, np.ndarray]:
        with float64():
            run = tiny_run(tiny_config(*overrides, *NO_DROPOUT), tmp_path)
            return compute_gradients(run, run.seams.batches(run.train, 0)[0])

    plain = in_child(measure_difference)
    halved = in_child(lambda: measure_difference("+tricks=[noise_scale]", "tricks.noise_scale.every_updates=1"))
    assert 0 < difference(plain, halved) < 1e-12
