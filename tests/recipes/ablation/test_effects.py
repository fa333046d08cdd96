"""Effects and their intervals, computed by hand on small studies. How often they hold: scripts/calibrate.py."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import (
    Block,
    compute_max_t_multipliers,
    estimate,
    measure_spreads,
    restrict_to_finished,
)
from recipes.ablation.observations import combine_folds
from recipes.errors import UserError


def every(arm: Arm) -> bool:
    return True


def block(design: Design, seeds: int, rows: int = 40, entropy: int = 0, name: str = "one") -> Block:
    """Runs whose rows are noise."""
    random = np.random.default_rng(entropy)
    count = len(design.arms)
    return Block(
        name,
        np.repeat(np.arange(count), seeds),
        np.tile(np.arange(seeds), count),
        random.normal(0.8, 0.1, (count * seeds, rows)),
        [f"{name}{run}" for run in range(count * seeds)],
    )


def select_runs(runs: Block, is_selected: np.ndarray) -> Block:
    names = [name for name, selected in zip(runs.fingerprints, is_selected, strict=True) if selected]
    return Block(runs.name, runs.arms[is_selected], runs.seeds[is_selected], runs.rows[is_selected], names)


def test_one_effect_by_hand() -> None:
    design = choose([2], every, "full", 2)
    runs = block(design, seeds=4)
    family, pairs = estimate(design, [runs])
    rows = runs.rows.reshape(2, 4, -1)
    difference = rows[1] - rows[0]
    assert family.values[0] == pytest.approx(difference.mean()) and not pairs.effects
    # The run variance is that of the mean of the paired differences over seeds.
    over_seeds = difference.mean(1)
    assert family.run_variance[0] == pytest.approx(over_seeds.var(ddof=1) / 4)
    # The row variance is that of the mean difference over rows, minus the residual of seeds and rows.
    residuals = difference - difference.mean(0) - over_seeds[:, None] + difference.mean()
    residual = (residuals**2).sum() / (3 * 39)
    assert family.row_variance[0] == pytest.approx(
        max(0, (difference.mean(0).var(ddof=1) - residual / 4) / 40), abs=1e-12
    )
    low, high = family.interval(0.95)
    half = (t.ppf(0.975, 3) ** 2 * family.run_variance[0] + t.ppf(0.975, 39) ** 2 * family.row_variance[0]) ** 0.5
    assert high[0] - low[0] == pytest.approx(2 * half) and family.run_degrees_of_freedom[0] == pytest.approx(3)


def test_without_row_variance_it_is_the_paired_t_test() -> None:
    design = choose([2], every, "full", 2)
    runs = block(design, seeds=5)
    scores = runs.rows.mean(1)
    constant = Block(runs.name, runs.arms, runs.seeds, np.repeat(scores[:, None], 40, 1), runs.fingerprints)
    family, _ = estimate(design, [constant])
    low, high = family.interval(0.95)
    difference = scores[5:] - scores[:5]
    half = t.ppf(0.975, 4) * difference.std(ddof=1) / 5**0.5
    assert (low[0], high[0]) == pytest.approx((difference.mean() - half, difference.mean() + half))
    assert family.run_degrees_of_freedom[0] == pytest.approx(4)


def test_rows_alone_are_the_paired_interval_over_rows() -> None:
    """Without variance over seeds, only the row variance and its degrees of freedom are left."""
    design = choose([2], every, "full", 2)
    two = np.random.default_rng(3).normal(size=(2, 400))
    runs = Block("one", np.repeat([0, 1], 3), np.tile([0, 1, 2], 2), np.repeat(two, 3, 0), list("abcdef"))
    family, _ = estimate(design, [runs])
    difference = two[1] - two[0]
    low, high = family.interval(0.95)
    assert family.run_variance[0] == pytest.approx(0, abs=1e-30)
    half = t.ppf(0.975, 399) * difference.std(ddof=1) / 400**0.5
    assert high[0] - low[0] == pytest.approx(2 * half)


def test_a_shift_of_all_arms_of_a_seed_changes_no_effect() -> None:
    design = choose([2, 2], every, "full", 4)
    runs = block(design, seeds=3)
    shifted = runs.rows + runs.seeds[:, None] * 0.3
    first, _ = estimate(design, [runs])
    second, _ = estimate(design, [Block("one", runs.arms, runs.seeds, shifted, runs.fingerprints)])
    np.testing.assert_allclose(second.values, first.values, atol=1e-12)
    np.testing.assert_allclose(second.run_covariance, first.run_covariance, atol=1e-12)
    np.testing.assert_allclose(second.row_covariance, first.row_covariance, atol=1e-12)


def test_data_sets_are_averaged_with_equal_weights() -> None:
    design = choose([2, 2], every, "full", 4)
    both = [block(design, 3, 40, 1, "one"), block(design, 4, 90, 2, "two")]
    separate = [estimate(design, [each])[0] for each in both]
    together, _ = estimate(design, both)
    np.testing.assert_allclose(together.values, (separate[0].values + separate[1].values) / 2)
    np.testing.assert_allclose(together.run_covariance, (separate[0].run_covariance + separate[1].run_covariance) / 4)
    np.testing.assert_allclose(together.row_covariance, (separate[0].row_covariance + separate[1].row_covariance) / 4)
    np.testing.assert_allclose(together.by_block["two"], separate[1].values)
    # Satterthwaite's degrees of freedom of the sum; 6 and 9 are those of the two data sets.
    parts = [each.run_variance for each in separate]
    freedom = (parts[0] + parts[1]) ** 2 / (parts[0] ** 2 / 6 + parts[1] ** 2 / 9)
    np.testing.assert_allclose(together.run_degrees_of_freedom, freedom)
    assert together.row_degrees_of_freedom == 39


def test_rows_that_two_data_sets_share_are_counted_once() -> None:
    design = choose([2], every, "full", 2)
    difference = np.random.default_rng(0).normal(0.1, 0.2, 50)
    rows = np.repeat([np.zeros(50), difference], 3, 0)
    one = Block("one", np.repeat([0, 1], 3), np.tile([0, 1, 2], 2), rows, list("abcdef"), validation="v")
    separate, shared = (replace(one, name="two", validation=validation) for validation in ("w", "v"))
    alone, _ = estimate(design, [one])
    assert alone.row_variance[0] == pytest.approx(difference.var(ddof=1) / 50)
    twice, _ = estimate(design, [one, separate])
    assert twice.row_variance[0] == pytest.approx(alone.row_variance[0] / 2)
    same, _ = estimate(design, [one, shared])
    assert same.row_variance[0] == pytest.approx(alone.row_variance[0]) and same.values == pytest.approx(alone.values)


def test_missing_runs_are_replaced_and_missing_arms_are_left_out() -> None:
    design = choose([2, 2], every, "full", 4)
    runs = block(design, seeds=3)
    is_selected = np.ones(12, dtype=bool)
    is_selected[0] = False
    family, _ = estimate(design, [select_runs(runs, is_selected)])
    assert len(family.effects) == 2 and np.isfinite(family.interval(0.95)).all()
    # An additive truth is recovered exactly, whichever runs are missing.
    truth = 0.8 + 0.1 * np.array([sum(design.arms[arm]) for arm in runs.arms]) + 0.02 * runs.seeds
    exact = Block("one", runs.arms, runs.seeds, np.repeat(truth[:, None], 5, 1), runs.fingerprints)
    family, _ = estimate(design, [select_runs(exact, is_selected)])
    np.testing.assert_allclose(family.values, [0.1, 0.1], atol=1e-12)
    family, pairs = estimate(design, [select_runs(exact, runs.arms != 3)])
    np.testing.assert_allclose(family.values, [0.1, 0.1], atol=1e-12)
    assert not pairs.effects
    # An arm that is missing on one data set is left out on all.
    assert restrict_to_finished(design, [exact, select_runs(runs, runs.arms != 2)]).arms == ((0, 0), (0, 1), (1, 1))
    with pytest.raises(UserError, match="no arm has a finished run on every data set"):
        restrict_to_finished(design, [select_runs(runs, runs.arms == 0), select_runs(runs, runs.arms == 1)])
    with pytest.raises(UserError, match="no run of the study has finished"):
        restrict_to_finished(design, [])


def test_runs_that_predict_the_same_count_as_one_run() -> None:
    """If a second trick changes nothing, its runs are no additional evidence on the first."""
    design = choose([2, 2], every, "full", 4)
    runs = block(choose([2], every, "full", 2), seeds=3)
    # Arms (0, 0), (0, 1), (1, 0), (1, 1): the second of each two repeats the first, to the last digit.
    original = [3 * (run // 6) + run % 3 for run in range(12)]
    twice = Block(
        "one",
        np.repeat(np.arange(4), 3),
        np.tile(np.arange(3), 4),
        runs.rows[original],
        [runs.fingerprints[run] for run in original],
    )
    alone, _ = estimate(choose([2], every, "full", 2), [runs])
    both, _ = estimate(design, [twice], identical=[Effect(((1, 1),))])
    np.testing.assert_allclose(both.values, alone.values)
    np.testing.assert_allclose(both.run_variance, alone.run_variance)
    np.testing.assert_allclose(both.row_variance, alone.row_variance)
    np.testing.assert_allclose(both.run_degrees_of_freedom, alone.run_degrees_of_freedom)


def test_with_one_seed_the_noise_is_the_residual_of_the_effects_or_an_error() -> None:
    design = choose([2, 2, 2], every, "full", 8)
    family, pairs = estimate(design, [block(design, seeds=1)])
    assert len(family.effects) == 3 and len(pairs.effects) == 3 and (family.run_variance > 0).all()
    design = choose([2, 2], every, "full", 4)
    with pytest.raises(UserError, match="seeds=2 or more"):
        estimate(design, [block(design, seeds=1)])


def test_identical_effects_are_in_no_family() -> None:
    design = choose([2, 2, 2], every, "full", 8)
    family, pairs = estimate(design, [block(design, seeds=2)], identical=[Effect(((0, 1),))])
    assert [effect.terms[0][0] for effect in family.effects] == [1, 2]
    assert [effect.terms for effect in pairs.effects] == [((1, 1), (2, 1))]


def test_simultaneous_intervals_are_wider_by_a_factor_from_the_correlations() -> None:
    assert compute_max_t_multipliers(np.eye(1), [0.95])[0] == pytest.approx(norm.ppf(0.975))
    independent = norm.ppf(0.5 + 0.95 ** (1 / 8) / 2)
    assert compute_max_t_multipliers(np.eye(8), [0.95])[0] == pytest.approx(independent, abs=0.03)
    # Effects with correlation 1 need no wider interval than a single effect.
    assert compute_max_t_multipliers(np.ones((8, 8)), [0.95])[0] == pytest.approx(norm.ppf(0.975), abs=0.03)
    assert compute_max_t_multipliers(np.zeros((3, 3)), [0.95])[0] == pytest.approx(norm.ppf(0.975))
    # An invalid covariance, from subtracting variances, needs no wider interval than independent effects.
    assert (
        compute_max_t_multipliers(np.array([[1.0, 3.0], [3.0, 1.0]]), [0.95])[0]
        < norm.ppf(0.5 + 0.95 ** (1 / 2) / 2) + 0.03
    )


def test_the_deviation_over_seeds_is_that_of_a_single_run() -> None:
    design = choose([2], every, "full", 2)
    # Arms and seeds leave residuals of +-0.01 in each of four runs, with one degree of freedom.
    scores = np.array([0.80, 0.82, 0.90, 0.88])
    rows = np.repeat(scores[:, None], 5, 1)
    runs = Block("one", np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), rows, list("abcd"))
    assert measure_spreads(design, [runs]) == {"one": pytest.approx(0.02)}
    same = replace(runs, name="two", fingerprints=list("abab"))
    assert list(measure_spreads(design, [runs, same])) == ["one"]


class TestRotatingFolds:
    """Seed s is scored on fold s mod 10."""

    @staticmethod
    def rotate(design: Design, seeds: int, folds: int = 10) -> Block:
        """Runs whose rows are noise; fold f has 30 + f rows."""
        all_seeds = np.arange(seeds)
        by_fold = [
            replace(block(design, len(of_fold), 30 + fold, fold), seeds=np.tile(of_fold, len(design.arms)))
            for fold in range(min(seeds, folds))
            if len(of_fold := all_seeds[all_seeds % folds == fold])
        ]
        names = [f"{each} {number}" for number, runs in enumerate(by_fold) for each in runs.fingerprints]
        return replace(combine_folds(by_fold, folds), fingerprints=names)

    def test_one_effect_is_a_paired_t_test_over_seeds_widened_by_common_training_rows(self) -> None:
        design = choose([2], every, "full", 2)
        runs = self.rotate(design, 5)
        family, _ = estimate(design, [runs])
        scores = np.array(
            [[runs.scores[(runs.arms == arm) & (runs.seeds == seed)][0] for seed in range(5)] for arm in (0, 1)]
        )
        difference = scores[1] - scores[0]
        assert family.values[0] == pytest.approx(difference.mean())
        # Nadeau and Bengio 2003: (1 / 5 + 1 / 9) in place of 1 / 5, as 1 row of validation comes with 9 of training.
        assert family.run_variance[0] == pytest.approx(difference.var(ddof=1) / 5)
        assert family.row_variance[0] == pytest.approx(difference.var(ddof=1) / 9)
        low, high = family.interval(0.95)
        half = t.ppf(0.975, 4) * difference.std(ddof=1) * (1 / 5 + 1 / 9) ** 0.5
        assert (low[0], high[0]) == pytest.approx((difference.mean() - half, difference.mean() + half))

    def test_an_effect_whose_rows_vary_more_than_the_others_has_a_wider_interval(self) -> None:
        """By hand, with two of three effects that move no row: rows - w'w * residual."""
        design = choose([2, 2], every, "one_at_a_time", 3)
        random = np.random.default_rng(0)
        # Arms: the base, the second trick, the first trick. Only the first trick moves rows.
        moved = design.arms.index((1, 0))
        by_fold = []
        for seed in range(4):
            rows = np.zeros((3, 50)) + random.normal(0, 0.01, (3, 1))
            rows[moved] += random.normal(0, 1, 50)
            names = [f"{seed} {arm}" for arm in range(3)]
            by_fold.append(Block("one", np.arange(3), np.full(3, seed), rows, names))
        family, _ = estimate(design, [combine_folds(by_fold, 5)])
        spread = np.mean([each.rows[moved].var(ddof=1) / 50 for each in by_fold])
        scores = np.array([each.scores for each in by_fold])
        residuals = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
        run_variance = (residuals**2).sum() / (3 * 2)
        # A single score of the moved arm has 2/3 of its variance over rows left after seeds; the others have 1/6 each.
        residual = spread * (2 / 3) / 2
        index = [effect.terms for effect in family.effects].index(((0, 1),))
        rows_beyond = spread / 4 - 2 / 4 * residual
        assert family.run_variance[index] == pytest.approx(2 / 4 * run_variance)
        assert family.row_variance[index] == pytest.approx(rows_beyond + 4 / 4 * (2 / 4 * run_variance + rows_beyond))
        # The other effect has less than the mean over effects: it is not narrowed.
        other = 1 - index
        assert family.row_variance[other] == pytest.approx(2 / 4 * run_variance)

    def test_rows_of_a_repeated_fold_count_once(self) -> None:
        """With seeds 0 and 2 on fold 0 and seeds 1 and 3 on fold 1, no noise but that of rows, all of it is seen."""
        design = choose([2], every, "full", 2)
        by_fold = []
        differences = np.random.default_rng(0).normal(0.1, 0.2, (2, 60))
        for fold, difference in enumerate(differences):
            rows = np.repeat([np.zeros(60), difference], 2, 0)
            names = [f"{fold} {run}" for run in range(4)]
            by_fold.append(Block("one", np.repeat([0, 1], 2), np.tile([fold, fold + 2], 2), rows, names))
        family, _ = estimate(design, [combine_folds(by_fold, 2)])
        of_rows = np.mean(differences.var(axis=1, ddof=1)) / 120
        means = differences.mean(1)
        run_variance = means.var(ddof=0) * 4 / 3  # over four seeds, of which two are equal
        # A third of the variance over rows is expected in the run variance already, so two thirds are added.
        assert family.run_variance[0] == pytest.approx(run_variance / 4)
        # K = 2: common training rows add the variance of one seed / (2 - 1): 4 seeds, 2 folds.
        rest = of_rows * 2 / 3
        assert family.row_variance[0] == pytest.approx(rest + 4 * run_variance / 4 + 2 * rest)

    def test_a_single_fold_is_the_study_on_one_split_with_the_same_estimates(self) -> None:
        design = choose([2, 2], every, "full", 4)
        runs = block(design, 3)
        one, _ = estimate(design, [runs])
        nested, _ = estimate(design, [replace(runs, folds=np.zeros(12), fold_count=10)])
        np.testing.assert_allclose(nested.run_covariance, one.run_covariance)
        of_one_seed = 3 * one.run_covariance + one.row_covariance
        np.testing.assert_allclose(nested.row_covariance, one.row_covariance + of_one_seed / 9, atol=1e-15)
