"""The simulation of rotating folds: its worlds have the stated properties, and its counts are near nominal levels."""

from dataclasses import replace

import numpy as np
import pytest

from recipes.ablation.design import Design, choose
from scripts.calibration.folds import (
    FOLD_ROWS,
    FOLDS,
    WORLDS,
    World,
    count_coverage,
    designs,
    measure_shifts,
    simulate_study,
)


def one_trick() -> Design:
    return choose([2], lambda arm: True, "full", 2)


def test_seeds_are_on_their_folds_and_the_split_is_one_of_them() -> None:
    rotating, split, truth = simulate_study(World(), one_trick(), 12, np.zeros(1), np.random.default_rng(0))
    assert rotating.rows.shape == (24, FOLDS * FOLD_ROWS) and split.rows.shape == (24, FOLD_ROWS)
    on_fold = [set(np.flatnonzero(~np.isnan(row)) // FOLD_ROWS) for row in rotating.rows]
    assert on_fold == [{seed % FOLDS} for seed in rotating.seeds.tolist()]
    assert list(truth.values()) == pytest.approx([0.0])


def test_training_rows_in_common_make_scores_correlate() -> None:
    """With a large influence the effect of a seed is that of its training rows, of which 8 of 9 folds are common."""
    design, shifts = one_trick(), np.array([3.0])
    world = World(seed=0, run=0, row_of_run=0, row_of_trick=0)
    by_seed = []
    for number in range(400):
        rotating, _, _ = simulate_study(world, design, 2, shifts, np.random.default_rng(number))
        scores = {
            (arm, seed): each for arm, seed, each in zip(rotating.arms, rotating.seeds, rotating.scores, strict=True)
        }
        by_seed.append([scores[1, seed] - scores[0, seed] for seed in (0, 1)])
    # The rows of a fold, 100 answers, add some noise of their own to each.
    assert np.corrcoef(np.transpose(by_seed))[0, 1] == pytest.approx(8 / 9, abs=0.08)


def test_the_influence_is_relative_to_a_validation_row() -> None:
    design = one_trick()
    one, four = (measure_shifts(World(influence=influence), design) for influence in (1, 4))
    assert four == pytest.approx(2 * one)
    # A trick that answers 10 % of the rows differently has a variance of about 0.1 over rows.
    world = World(row_of_run=0, row_of_trick=0.45)
    (shift,) = measure_shifts(world, design)
    assert 0.02 < (shift * 0.23) * FOLD_ROWS**0.5 / 5 < 0.2


@pytest.mark.slow
def test_intervals_hold_the_mean_over_training_samples() -> None:
    known = designs()
    for name, world in [
        ("8 tricks, 16 arms x 3 seeds", "influence 1"),
        ("one trick, 2 arms x 10 seeds", "influence 1"),
    ]:
        each, _, false, *_ = count_coverage(300, (0, WORLDS[world], *known[name]))
        # Three standard errors of 300 studies.
        assert float(each.partition("%")[0]) > 92 and float(false.partition("%")[0]) < 9, name
    # Without the correlation of training sets in the world, the intervals are wider than they need to be.
    each, *_ = count_coverage(300, (0, replace(World(), influence=0.0), *known["8 tricks, 16 arms x 3 seeds"]))
    assert float(each.partition("%")[0]) > 95
