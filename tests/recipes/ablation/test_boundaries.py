"""Boundaries of repeated looks: against normal theory by numbers, and against t tests of data drawn here."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, t

from recipes.ablation.boundaries import ALPHA, DRAWS, SPENDING_POWER, Boundary, draw_joint_law, find_boundaries
from recipes.ablation.design import Effect
from recipes.ablation.effects import Estimates


def family(run: float, row: float, effects: int = 1, freedom: float = 1e6) -> Estimates:
    """Independent effects of value 0."""
    return Estimates(
        [Effect(((factor, 1),)) for factor in range(effects)],
        np.zeros(effects),
        np.eye(effects) * run,
        np.eye(effects) * row,
        np.full(effects, freedom),
        1e6,
        {},
    )


def seeds_at(analyses: Sequence[float], effects: int = 1) -> np.ndarray:
    return np.repeat(np.array(analyses, float)[:, None], effects, axis=1)


def test_two_looks_by_normal_theory() -> None:
    """The second look crosses if it is outside and the first was not; the two have the correlation root 1/2."""
    law = draw_joint_law(family(1.0, 0.0), seeds_at([3, 6]), 0)
    np.testing.assert_allclose(law.information, [0.5, 1])
    first, second = find_boundaries(law)
    spent = ALPHA * 0.5**SPENDING_POWER
    assert (first.spent, second.spent) == pytest.approx((spent, ALPHA - spent))
    assert first.multiplier == pytest.approx(norm.ppf(1 - spent / 2), abs=0.1)
    both = multivariate_normal(cov=[[1, 0.5**0.5], [0.5**0.5, 1]])
    corners = [(sign * first.multiplier, other * second.multiplier) for sign in (1, -1) for other in (1, -1)]
    inside = sum(np.sign(x * y) * both.cdf([x, y]) for x, y in corners)
    assert 1 - inside == pytest.approx(ALPHA, abs=0.003)


def test_looks_that_share_all_their_noise_cost_nothing() -> None:
    """If rows are the only noise, the first look knows as much as the last, and may spend everything."""
    law = draw_joint_law(family(0.0, 1.0), seeds_at([3, 5, 10]), 0)
    first, *_ = find_boundaries(law)
    assert law.information.tolist() == [1, 1, 1] and first.spent == ALPHA
    assert first.multiplier == pytest.approx(norm.ppf(1 - ALPHA / 2), abs=0.03)


def test_the_row_part_gives_early_looks_more_information() -> None:
    law = draw_joint_law(family(1.0, 1.0), seeds_at([2, 4]), 0)
    # Variances 1 + 1 and 1/2 + 1.
    np.testing.assert_allclose(law.information, [0.75, 1])
    estimates = law.deviations[:, 0]
    np.testing.assert_allclose(np.cov(estimates), [[2, 1.5], [1.5, 1.5]], rtol=0.03)


def test_the_error_is_spent_for_the_effects_that_get_more_seeds() -> None:
    """The arms of the second effect have left after three seeds."""
    law = draw_joint_law(family(1.0, 0.0, 2), np.array([[3.0, 3.0], [6.0, 3.0]]), 0)
    np.testing.assert_allclose(law.information, [0.5, 1])


def test_all_effects_hold_at_once() -> None:
    one, eight = (
        find_boundaries(draw_joint_law(family(1.0, 0.0, effects), seeds_at([10], effects), 0)) for effects in (1, 8)
    )
    assert one[0].multiplier == pytest.approx(norm.ppf(1 - ALPHA / 2), abs=0.03)
    assert eight[0].multiplier == pytest.approx(norm.ppf(0.5 + (1 - ALPHA) ** (1 / 8) / 2), abs=0.03)


def test_paired_t_tests_from_three_seeds_on_have_the_error_in_all_and_normal_theory_has_not() -> None:
    analyses = [3, 4, 5, 7, 10]
    differences = np.random.default_rng(5).standard_normal((40_000, analyses[-1]))
    boundaries = find_boundaries(draw_joint_law(family(1 / 3, 0.0, freedom=2), seeds_at(analyses), 0))
    by_normal = find_boundaries(draw_joint_law(family(1 / 3, 0.0), seeds_at(analyses), 0))
    crossed, crossed_by_normal = np.zeros(40_000, bool), np.zeros(40_000, bool)
    for seeds, boundary, other in zip(analyses, boundaries, by_normal, strict=True):
        sample = differences[:, :seeds]
        statistics = np.abs(sample.mean(1) / (sample.std(1, ddof=1) / seeds**0.5))
        crossed |= statistics > t.ppf(norm.cdf(boundary.multiplier), seeds - 1)
        crossed_by_normal |= statistics > other.multiplier
    assert crossed.mean() == pytest.approx(ALPHA, abs=0.005)
    assert crossed_by_normal.mean() > 0.07


def test_a_look_spends_from_what_is_left_whatever_earlier_looks_assumed() -> None:
    """The first look believed that rows are all the noise, and spent nearly everything."""
    past = [Boundary(2.0, 0.045)]
    boundaries = find_boundaries(draw_joint_law(family(1.0, 0.1), seeds_at([3, 4, 6]), 1), past)
    assert boundaries[0] == past[0] and min(each.spent for each in boundaries) > 0
    assert sum(each.spent for each in boundaries) == pytest.approx(ALPHA)


def test_the_chance_is_the_predictive_power() -> None:
    law = draw_joint_law(family(1.0, 0.0), seeds_at([5, 10]), 0)
    # The last look must exceed 2 x root 1/2, and the estimate still moves by root 1/2.
    chances = law.chances(0, np.array([[0.0, 2 * 0.5**0.5, 5.0]]), 2.0)
    np.testing.assert_allclose(chances, [norm.cdf([-2, 0, (5 - 2 * 0.5**0.5) / 0.5**0.5])], atol=1e-4)
    certain = draw_joint_law(family(0.0, 1.0), seeds_at([5, 10]), 0)
    np.testing.assert_allclose(certain.chances(0, np.array([[1.9, 2.1]]), 2.0), [[0, 1]])


def test_an_effect_without_any_noise_is_never_outside() -> None:
    law = draw_joint_law(family(0.0, 0.0, 2), seeds_at([3, 5], 2), 0)
    assert law.information.tolist() == [1, 1]
    assert not len(law.find_outside(0, 0.5, np.arange(DRAWS)))
