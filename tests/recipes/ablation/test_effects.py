"""Effects and their intervals, by hand on small studies; how often they hold is counted in scripts/calibrate.py."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import Block, estimate, largest_of, present
from recipes.errors import UserError


def every(arm: Arm) -> bool:
    return True


def block(design: Design, seeds: int, rows: int = 40, number: int = 0, name: str = "one") -> Block:
    """Runs whose rows are chance."""
    chance = np.random.default_rng(number)
    count = len(design.arms)
    return Block(
        name,
        np.repeat(np.arange(count), seeds),
        np.tile(np.arange(seeds), count),
        chance.normal(0.8, 0.1, (count * seeds, rows)),
        [f"{name}{run}" for run in range(count * seeds)],
    )


def part(held: Block, chosen: np.ndarray) -> Block:
    names = [name for name, there in zip(held.fingerprints, chosen, strict=True) if there]
    return Block(held.name, held.arms[chosen], held.seeds[chosen], held.rows[chosen], names)


def test_one_effect_by_hand() -> None:
    design = choose([2], every, "full", 2)
    held = block(design, seeds=4)
    family, pairs = estimate(design, [held])
    rows = held.rows.reshape(2, 4, -1)
    difference = rows[1] - rows[0]
    assert family.values[0] == pytest.approx(difference.mean()) and not pairs.effects
    # Of paired differences: their mean's variance over seeds is that of the run part.
    over_seeds = difference.mean(1)
    assert family.run_variance[0] == pytest.approx(over_seeds.var(ddof=1) / 4)
    # Of rows: the spread of the mean difference, less what is left when seeds and rows are taken out.
    left = difference - difference.mean(0) - over_seeds[:, None] + difference.mean()
    residual = (left**2).sum() / (3 * 39)
    assert family.row_variance[0] == pytest.approx(
        max(0, (difference.mean(0).var(ddof=1) - residual / 4) / 40), abs=1e-12
    )
    low, high = family.interval(0.95)
    half = (t.ppf(0.975, 3) ** 2 * family.run_variance[0] + t.ppf(0.975, 39) ** 2 * family.row_variance[0]) ** 0.5
    assert high[0] - low[0] == pytest.approx(2 * half) and family.run_freedom[0] == pytest.approx(3)


def test_without_row_variance_it_is_the_paired_t_test() -> None:
    design = choose([2], every, "full", 2)
    held = block(design, seeds=5)
    scores = held.rows.mean(1)
    constant = Block(held.name, held.arms, held.seeds, np.repeat(scores[:, None], 40, 1), held.fingerprints)
    family, _ = estimate(design, [constant])
    low, high = family.interval(0.95)
    difference = scores[5:] - scores[:5]
    half = t.ppf(0.975, 4) * difference.std(ddof=1) / 5**0.5
    assert (low[0], high[0]) == pytest.approx((difference.mean() - half, difference.mean() + half))
    assert family.run_freedom[0] == pytest.approx(4)


def test_rows_alone_are_the_paired_interval_over_rows() -> None:
    """Seeds that do nothing leave the rows' own variance, and the degrees of freedom of rows."""
    design = choose([2], every, "full", 2)
    two = np.random.default_rng(3).normal(size=(2, 400))
    held = Block("one", np.repeat([0, 1], 3), np.tile([0, 1, 2], 2), np.repeat(two, 3, 0), list("abcdef"))
    family, _ = estimate(design, [held])
    difference = two[1] - two[0]
    low, high = family.interval(0.95)
    assert family.run_variance[0] == pytest.approx(0, abs=1e-30)
    half = t.ppf(0.975, 399) * difference.std(ddof=1) / 400**0.5
    assert high[0] - low[0] == pytest.approx(2 * half)


def test_what_seeds_share_does_not_count() -> None:
    design = choose([2, 2], every, "full", 4)
    held = block(design, seeds=3)
    shifted = held.rows + held.seeds[:, None] * 0.3
    first, _ = estimate(design, [held])
    second, _ = estimate(design, [Block("one", held.arms, held.seeds, shifted, held.fingerprints)])
    np.testing.assert_allclose(second.values, first.values, atol=1e-12)
    np.testing.assert_allclose(second.run_covariance, first.run_covariance, atol=1e-12)
    np.testing.assert_allclose(second.row_covariance, first.row_covariance, atol=1e-12)


def test_data_sets_are_averaged_with_equal_weights() -> None:
    design = choose([2, 2], every, "full", 4)
    both = [block(design, 3, 40, 1, "one"), block(design, 4, 90, 2, "two")]
    apart = [estimate(design, [each])[0] for each in both]
    together, _ = estimate(design, both)
    np.testing.assert_allclose(together.values, (apart[0].values + apart[1].values) / 2)
    np.testing.assert_allclose(together.run_covariance, (apart[0].run_covariance + apart[1].run_covariance) / 4)
    np.testing.assert_allclose(together.row_covariance, (apart[0].row_covariance + apart[1].row_covariance) / 4)
    np.testing.assert_allclose(together.by_block["two"], apart[1].values)
    # Satterthwaite's, of the sum of the two: 6 and 9 of their own.
    parts = [each.run_variance for each in apart]
    freedom = (parts[0] + parts[1]) ** 2 / (parts[0] ** 2 / 6 + parts[1] ** 2 / 9)
    np.testing.assert_allclose(together.run_freedom, freedom)
    assert together.row_freedom == 39


def test_rows_that_judge_two_data_sets_are_counted_once() -> None:
    design = choose([2], every, "full", 2)
    difference = np.random.default_rng(0).normal(0.1, 0.2, 50)
    rows = np.repeat([np.zeros(50), difference], 3, 0)
    one = Block("one", np.repeat([0, 1], 3), np.tile([0, 1, 2], 2), rows, list("abcdef"), validation="v")
    apart, shared = (replace(one, name="two", validation=validation) for validation in ("w", "v"))
    alone, _ = estimate(design, [one])
    assert alone.row_variance[0] == pytest.approx(difference.var(ddof=1) / 50)
    twice, _ = estimate(design, [one, apart])
    assert twice.row_variance[0] == pytest.approx(alone.row_variance[0] / 2)
    same, _ = estimate(design, [one, shared])
    assert same.row_variance[0] == pytest.approx(alone.row_variance[0]) and same.values == pytest.approx(alone.values)


def test_missing_runs_are_borne_and_missing_arms_left_out() -> None:
    design = choose([2, 2], every, "full", 4)
    held = block(design, seeds=3)
    chosen = np.ones(12, dtype=bool)
    chosen[0] = False
    family, _ = estimate(design, [part(held, chosen)])
    assert len(family.effects) == 2 and np.isfinite(family.interval(0.95)).all()
    # An additive truth is found exactly whatever runs are missing.
    truth = 0.8 + 0.1 * np.array([sum(design.arms[arm]) for arm in held.arms]) + 0.02 * held.seeds
    exact = Block("one", held.arms, held.seeds, np.repeat(truth[:, None], 5, 1), held.fingerprints)
    family, _ = estimate(design, [part(exact, chosen)])
    np.testing.assert_allclose(family.values, [0.1, 0.1], atol=1e-12)
    family, pairs = estimate(design, [part(exact, held.arms != 3)])
    np.testing.assert_allclose(family.values, [0.1, 0.1], atol=1e-12)
    assert not pairs.effects
    # What is missing on one data set is left out on all.
    assert present(design, [exact, part(held, held.arms != 2)]).arms == ((0, 0), (0, 1), (1, 1))
    with pytest.raises(UserError, match="no arm has a finished run on every data set"):
        present(design, [part(held, held.arms == 0), part(held, held.arms == 1)])
    with pytest.raises(UserError, match="no run of the study has finished"):
        present(design, [])


def test_runs_that_are_the_same_are_one_run() -> None:
    """Where a second trick changes nothing, its runs are no further evidence on the first."""
    design = choose([2, 2], every, "full", 4)
    held = block(choose([2], every, "full", 2), seeds=3)
    # Arms (0, 0), (0, 1), (1, 0), (1, 1): the second of each two repeats the first, to the last digit.
    original = [3 * (run // 6) + run % 3 for run in range(12)]
    twice = Block(
        "one",
        np.repeat(np.arange(4), 3),
        np.tile(np.arange(3), 4),
        held.rows[original],
        [held.fingerprints[run] for run in original],
    )
    alone, _ = estimate(choose([2], every, "full", 2), [held])
    both, _ = estimate(design, [twice], settled=[Effect(((1, 1),))])
    np.testing.assert_allclose(both.values, alone.values)
    np.testing.assert_allclose(both.run_variance, alone.run_variance)
    np.testing.assert_allclose(both.row_variance, alone.row_variance)
    np.testing.assert_allclose(both.run_freedom, alone.run_freedom)


def test_one_seed_takes_what_the_effects_leave_or_says_that_nothing_is_left() -> None:
    design = choose([2, 2, 2], every, "full", 8)
    family, pairs = estimate(design, [block(design, seeds=1)])
    assert len(family.effects) == 3 and len(pairs.effects) == 3 and (family.run_variance > 0).all()
    design = choose([2, 2], every, "full", 4)
    with pytest.raises(UserError, match="seeds=2 or more"):
        estimate(design, [block(design, seeds=1)])


def test_effects_that_are_known_are_in_no_family() -> None:
    design = choose([2, 2, 2], every, "full", 8)
    family, pairs = estimate(design, [block(design, seeds=2)], settled=[Effect(((0, 1),))])
    assert [effect.places[0][0] for effect in family.effects] == [1, 2]
    assert [effect.places for effect in pairs.effects] == [((1, 1), (2, 1))]


def test_together_is_wider_than_alone_by_what_the_correlations_ask() -> None:
    assert largest_of(np.eye(1), [0.95])[0] == pytest.approx(norm.ppf(0.975))
    independent = norm.ppf(0.5 + 0.95 ** (1 / 8) / 2)
    assert largest_of(np.eye(8), [0.95])[0] == pytest.approx(independent, abs=0.03)
    # Effects that are one and the same need no more room than one.
    assert largest_of(np.ones((8, 8)), [0.95])[0] == pytest.approx(norm.ppf(0.975), abs=0.03)
    assert largest_of(np.zeros((3, 3)), [0.95])[0] == pytest.approx(norm.ppf(0.975))
    # What is no covariance, since variances were subtracted, costs no more room than effects that are independent.
    assert largest_of(np.array([[1.0, 3.0], [3.0, 1.0]]), [0.95])[0] < norm.ppf(0.5 + 0.95 ** (1 / 2) / 2) + 0.03
