"""Intervals over a population of data sets, against numbers computed elsewhere."""

import math

import numpy as np
import pytest

from recipes.ablation.populations import estimate_population
from scripts.calibration.datasets import describe, estimate_by_precision


def test_the_mean_and_its_interval_by_hand() -> None:
    # Deviations -0.02, 0 and 0.02: s = 0.02; t with 2 degrees of freedom is 4.3027.
    population = estimate_population([0.01, 0.03, 0.05])
    assert population.mean == pytest.approx(0.03)
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert population.interval == pytest.approx((0.03 - half, 0.03 + half), rel=1e-6)


def test_two_data_sets_have_one_degree_of_freedom() -> None:
    population = estimate_population([0.01, 0.03])
    half = 12.706205 * 0.01
    assert population.interval == pytest.approx((0.02 - half, 0.02 + half), rel=1e-6)


def test_a_prediction_needs_five_data_sets() -> None:
    assert estimate_population([0.0, 0.01, 0.02, 0.03]).prediction is None
    # s^2 = 0.001 / 4; t with 4 degrees of freedom is 2.776445.
    reach = 2.776445 * math.sqrt(0.001 / 4 * (1 + 1 / 5))
    prediction = estimate_population([0.0, 0.01, 0.02, 0.03, 0.04]).prediction
    assert prediction == pytest.approx((0.02 - reach, 0.02 + reach), rel=1e-6)


def test_a_trick_that_changes_nothing_anywhere_has_no_width() -> None:
    assert estimate_population([0.0, 0.0, 0.0]).interval == (0.0, 0.0)


def test_hartung_and_knapp_as_statsmodels_computes_it() -> None:
    """Of statsmodels 0.14: `combine_effects(effects, variances, method_re="iterated", use_t=True)`."""
    effects = np.array([61.0, 61.4, 62.21, 62.3, 62.34, 62.6, 62.7, 62.84, 65.9])
    variances = np.array([0.2025, 1.21, 0.09, 0.2025, 0.3844, 0.5625, 0.0676, 0.0225, 1.8225])
    interval, prediction = estimate_by_precision(effects, variances)
    assert interval == pytest.approx((61.6281201, 63.1871195), abs=1e-5)
    # tau^2 = 0.7053938, the standard error 0.3380305; t with 7 degrees of freedom is 2.364624.
    reach = 2.364624 * math.sqrt(0.7053938 + 0.3380305**2)
    assert prediction == pytest.approx((62.4076198 - reach, 62.4076198 + reach), abs=1e-4)
    # With equal variances the weights are equal, and both are the interval of the ablation.
    equal, _ = estimate_by_precision(effects, np.full(9, 0.1))
    assert equal == pytest.approx(estimate_population(effects.tolist()).interval)


@pytest.mark.slow
def test_the_simulation_finds_the_nominal_level() -> None:
    title, means, _, predictions = describe(150, 1)
    assert "mean" in title and len(means.splitlines()) == 2 + 18 and len(predictions.splitlines()) == 2 + 12
    rates = [float(line.split("|")[2].split("%")[0]) for line in means.splitlines()[2:]]
    assert min(rates) > 88 and 94 < sum(rates) / len(rates) < 98.5
