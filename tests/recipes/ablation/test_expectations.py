"""What the atlas lets one expect: by hand, against an independent computation, and in simulations."""

import numpy as np
import pytest
from scipy.stats import t

from recipes.ablation.expectations import (
    EXPLAINED,
    Coverage,
    Features,
    Measured,
    describe_rows,
    expect,
    hold_out,
    select,
)
from scripts.calibration.expectations import WORLDS, describe, simulate

ALIKE = [Features(1000, 2, 0.5, 20, 0.9)] * 8
EFFECTS = [0.01, 0.02, 0.0, -0.01, 0.03, 0.02, 0.01, 0.0]


def measured(number: int, accuracy: float, **others: object) -> Measured:
    values = {
        "trick": "fgm",
        "study": "everyday",
        "language": "en",
        "encoder": "minilm",
        "updates": 300,
        "data": f"set{number}",
    }
    values |= {"accuracy": accuracy, "loss": 0.0, "passes": 2.0, "rows": 1000, "classes": 2 + number % 3}
    values |= {"majority": 0.5 + number / 40, "length": 5 + 3 * number, "base": 0.8 + number / 100}
    return Measured(**{**values, **others})  # type: ignore[arg-type]


def test_data_sets_that_are_alike_give_the_interval_of_one_more_observation() -> None:
    expectation = expect(EFFECTS, ALIKE, ALIKE[0], margin=0.01)
    assert expectation is not None
    reach = t.ppf(0.975, 7) * np.std(EFFECTS, ddof=1) * np.sqrt(1 + 1 / 8)
    assert expectation.mean == pytest.approx(0.01)
    assert expectation.interval == pytest.approx((0.01 - reach, 0.01 + reach))
    assert expectation.chance == pytest.approx(0.5)


def test_seven_data_sets_are_too_few() -> None:
    assert expect(EFFECTS[:7], ALIKE[:7], ALIKE[0], margin=0.01) is None


def test_the_prediction_is_the_posterior_of_a_linear_model() -> None:
    """The mean and the slopes are conditioned on, as parts of one joint normal distribution."""
    known = [each.features for each in (measured(number, 0.0) for number in range(8))]
    new = Features(1000, 3, 0.6, 14, 0.85)
    expectation = expect(EFFECTS, known, new, margin=0.0)
    assert expectation is not None
    raw, own = np.stack([each.as_array() for each in known]), new.as_array()
    used = raw.std(0) > 0
    scaled, own = (raw - raw.mean(0))[:, used] / raw.std(0)[used], (own - raw.mean(0))[used] / raw.std(0)[used]
    # The mean has a flat prior: a normal one with a huge variance.
    slopes = EXPLAINED / used.sum()
    prior = np.diag([1e4, *[slopes] * used.sum()])
    model = np.column_stack([np.ones(8), scaled])
    covariance = model @ prior @ model.T + np.eye(8)
    row = np.array([1.0, *own])
    gain = row @ prior @ model.T @ np.linalg.inv(covariance)
    assert expectation.mean == pytest.approx(gain @ EFFECTS, rel=1e-3)
    variance = row @ prior @ row + 1 - gain @ model @ prior @ row
    scale = np.array(EFFECTS) @ np.linalg.inv(covariance) @ EFFECTS / 7
    reach = t.ppf(0.975, 7) * np.sqrt(scale * variance)
    assert np.diff(expectation.interval)[0] / 2 == pytest.approx(reach, rel=1e-3)


def test_a_data_set_counts_once_though_two_studies_have_it() -> None:
    both = [measured(number, 0.01, study=study) for study in ("everyday", "attacks") for number in range(4)]
    assert [each.study for each in select(both, "en")["fgm"]] == ["everyday"] * 4


def test_a_feature_that_is_unknown_is_not_used() -> None:
    known = [each.features for each in (measured(number, 0.0) for number in range(8))]
    without_base = [Features(each.rows, each.classes, each.majority, each.length, 0.9) for each in known]
    new = Features(1000, 3, 0.6, 14)
    assert expect(EFFECTS, known, new, 0.0) == expect(EFFECTS, without_base, new, 0.0)


def test_rows_are_described_in_words_or_in_characters() -> None:
    assert describe_rows(["a b c", "a", "a b"], ["x", "y", "x"], True) == Features(3, 2, 2 / 3, 2.0)
    assert describe_rows(["天气很好", "好"], ["x", "x"], False, 0.8) == Features(2, 1, 1.0, 2.5, 0.8)


def test_the_length_with_most_data_sets_is_selected() -> None:
    short = [measured(number, 0.0, updates=100) for number in range(3)]
    long = [measured(number, 0.0, updates=300) for number in range(2)]
    chinese = [measured(9, 0.0, language="zh")]
    assert select([*short, *long, *chinese], "en") == {"fgm": short}
    assert select([*short, *long, *chinese], "zh") == {"fgm": chinese}
    assert select(short, "de") == {}


def test_each_data_set_is_left_out_once() -> None:
    outlier = [measured(number, accuracy) for number, accuracy in enumerate([*EFFECTS, 0.5])]
    held = hold_out({"fgm": outlier, "few": outlier[:7]})
    assert held == Coverage(8, 9)
    # Clopper and Pearson for 8 of 9, from a published table.
    assert held.interval == pytest.approx((0.5175, 0.9972), abs=1e-4)
    assert str(held) == "held in 8 of 9 (52% to 100%)"
    assert str(hold_out({})) == "could not be tried"


def test_intervals_hold_in_a_small_simulation() -> None:
    held, _ = simulate(WORLDS["half is explained"], 8, 200, np.random.default_rng(0))
    assert held > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("count", [8, 20])
def test_intervals_hold_in_each_world(world: str, count: int) -> None:
    held, _ = simulate(WORLDS[world], count, 3000, np.random.default_rng(1))
    # The standard error of the count is 0.004.
    assert held > 0.925


def test_the_simulation_prints_a_line_for_each_world() -> None:
    _, table = describe(3, 1)
    assert len(table.splitlines()) == 2 + 3 * len(WORLDS)
