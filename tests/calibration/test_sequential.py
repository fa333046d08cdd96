"""The simulation of studies in rounds: a study from its first look to its end, and the counts of many."""

from dataclasses import replace

import numpy as np
import pytest

from recipes.ablation.design import choose
from scripts.calibrate import WORLDS, simulate_study
from scripts.calibration.sequential import CASES, run_rounds, select_seeds, simulate_case


def test_each_arm_has_its_first_seeds() -> None:
    design = choose([2], lambda arm: True, "full", 4)
    (block,) = simulate_study(replace(WORLDS["few rows"], effects=(0.0,)), design.arms, 4, np.random.default_rng(0))
    selected = select_seeds(block, np.array([1, 3]))
    assert list(zip(selected.arms.tolist(), selected.seeds.tolist(), strict=True)) == [(0, 0), (1, 0), (1, 1), (1, 2)]
    np.testing.assert_array_equal(selected.rows, block.rows[[0, 4, 5, 6]])


def test_a_simulated_study_ends_at_one_of_its_looks() -> None:
    design = choose([2], lambda arm: True, "full", 4)
    blocks = simulate_study(replace(WORLDS["few rows"], effects=(0.1,)), design.arms, 5, np.random.default_rng(0))
    rounds, seeds_of_arm = run_rounds(design, blocks, [3, 5], {})
    assert rounds.arms == () and seeds_of_arm.tolist() in ([3, 3], [5, 5])


@pytest.mark.slow
def test_false_claims_are_rare_and_intervals_hold_with_few_and_with_many_degrees_of_freedom() -> None:
    for design, studies in (("one trick", 200), ("auto", 60)):
        case = next(case for case in CASES if case.design == design and case.effects == ())
        outcomes = simulate_case(case, studies, 1)
        # Three standard errors above 5 %, and below 94 %.
        assert np.mean([each.is_false for each in outcomes]) < 0.05 + 3 * (0.0475 / studies) ** 0.5
        assert np.mean([each.coverage for each in outcomes]) > 0.94 - 3 * (0.06 / studies) ** 0.5
        assert np.mean([each.runs for each in outcomes]) < 0.7
