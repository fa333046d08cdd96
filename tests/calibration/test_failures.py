"""The simulation of studies in which runs collapse."""

import numpy as np
import pytest

from recipes.ablation.design import choose
from scripts.calibrate import WORLDS, designs
from scripts.calibration.failures import LEVEL_CASES, Failures, count_false_breaks, simulate


@pytest.mark.slow
def test_a_level_that_breaks_all_runs_is_found_and_leaves_the_others() -> None:
    design = choose((2, 2, 2), lambda arm: True, "full", 8)
    outcome = simulate(WORLDS["few rows"], Failures(breaking=1.0), design, 3, np.random.default_rng(0))
    assert outcome.has_verdict and outcome.finds_level and not outcome.finds_others
    assert len(outcome.holds) == 2 and outcome.doubted == 0


@pytest.mark.slow
def test_a_doubted_level_is_not_counted_as_an_interval() -> None:
    design = choose((2, 2, 2), lambda arm: True, "one_at_a_time", 4)
    random = np.random.default_rng(0)
    outcomes = [simulate(WORLDS["few rows"], Failures(breaking=0.3), design, 5, random) for _ in range(20)]
    doubted = [outcome for outcome in outcomes if outcome.doubted]
    assert doubted and all(outcome.doubted == pytest.approx(1 / 3) and len(outcome.holds) == 2 for outcome in doubted)


def test_few_studies_call_an_innocent_level_breaking() -> None:
    """Without a correction for the number of levels 10 to 18 % do."""
    (case,) = (each for each in LEVEL_CASES if each[1:] == ("one_at_a_time", 8, (3,)))
    fractions = [float(cell.partition("%")[0]) for cell in count_false_breaks(200, (0, case))]
    assert max(fractions) < 5 + 3 * 1.54


@pytest.mark.slow
def test_intervals_hold_where_a_level_breaks_some_of_its_runs() -> None:
    design, seeds = next(each for name, each in designs().items() if name.startswith("one_at_a_time"))
    random = np.random.default_rng(0)
    outcomes = [simulate(WORLDS["as seen"], Failures(breaking=0.6), design, seeds, random) for _ in range(200)]
    # Three standard errors below 94 %; 88 % without the rule on doubted levels.
    assert np.mean([outcome.all_hold for outcome in outcomes]) > 0.94 - 3 * 0.0168
