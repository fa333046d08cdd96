"""The spread over seeds: its prior is that of the stored studies, and runs sharpen it."""

import math

import numpy as np
import pytest
from scipy.stats import chi2, f

from recipes.ablation.spread import PRIOR, Spread, fit_spread
from scripts.calibration.spread import fit_stored_studies, measure_stored_studies


def test_the_prior_is_fitted_to_the_stored_studies() -> None:
    measured = {name: (round(deviation, 4), count) for name, deviation, count in measure_stored_studies()}
    assert measured == {
        "ablation.csv, trec500": (0.0385, 30),
        "ablation.csv, cr500": (0.0539, 30),
        "ablation-pairs.csv, trec500": (0.0096, 30),
        "ablation-pairs.csv, cr500": (0.0216, 30),
    }
    fitted = fit_stored_studies()
    assert (round(fitted.deviation, 3), round(fitted.degrees_of_freedom, 1)) == (
        PRIOR.deviation,
        PRIOR.degrees_of_freedom,
    )


def test_two_runs_update_the_prior_by_hand() -> None:
    # The squared deviations of 0.80 and 0.84 sum to 2 * 0.02^2 with one degree of freedom.
    updated = Spread(0.01, 3).update([0.80, 0.84])
    assert updated.degrees_of_freedom == 4
    assert updated.deviation == pytest.approx(math.sqrt((3 * 0.01**2 + 2 * 0.02**2) / 4))
    assert Spread(0.01, 3).update([0.8]) == Spread(0.01, 3)


def test_quantiles_are_those_of_a_scaled_inverse_chi_square() -> None:
    low, high = Spread(0.02, 5).quantiles([0.1, 0.9])
    assert (low, high) == pytest.approx((0.02 * math.sqrt(5 / 9.2364), 0.02 * math.sqrt(5 / 1.6103)), rel=1e-4)


def test_a_fit_finds_the_distribution_that_made_the_deviations() -> None:
    generator = np.random.default_rng(0)
    true = 0.02 * np.sqrt(6 / chi2.rvs(6, size=20_000, random_state=generator))
    estimated = true * np.sqrt(chi2.rvs(30, size=20_000, random_state=generator) / 30)
    fitted = fit_spread(estimated.tolist(), [30] * 20_000)
    assert fitted.deviation == pytest.approx(0.02, rel=0.02) and fitted.degrees_of_freedom == pytest.approx(6, rel=0.06)
    # The same as a scaled F distribution.
    assert np.median(estimated**2) / fitted.deviation**2 == pytest.approx(f.median(30, 6), rel=0.03)
