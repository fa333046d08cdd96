"""The plan of a study, printed before it starts."""

import math

import numpy as np
import pytest

from recipes.ablation.design import Design
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.plan import (
    describe_plan,
    describe_range,
    estimate_detectable,
    estimate_smallest_effect,
    predict_smallest_effect,
)
from recipes.ablation.spread import Spread


def trick(name: str) -> Factor:
    return Factor(name, (NONE, Level(name, (), name)))


FULL = Design("full", (2, 2), ((0, 0), (0, 1), (1, 0), (1, 1)))
SPACE = Space((trick("mixup"), trick("swa")), {"set": ()}, (), ("amp",))


def test_a_plan_lists_factors_runs_and_effects() -> None:
    lines = list(describe_plan(SPACE, FULL, 3, {"set": 400}))
    assert lines[:5] == [
        ("varies", "mixup: none, mixup"),
        ("varies", "swa: none, swa"),
        ("always", "amp"),
        ("runs", "12: 4 arms (full), 3 seeds, on set (400 validation rows)"),
        ("estimates", "2 effects (average over the other tricks) and 1 of 1 pairs"),
    ]
    assert [name for name, _ in lines[5:]] == ["detects"]
    assert ("warning", "of it") in describe_plan(SPACE, FULL, 3, {"set": 400}, ["of it"])


def test_a_plan_lists_the_pairs_that_a_fraction_cannot_separate() -> None:
    space = Space((trick("a"), trick("b"), Factor("model", (Level("x"), Level("y")))), {"set": ()})
    half = Design("auto", (2, 2, 2), ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)))
    lines = dict(describe_plan(space, half, 3, {"set": 400}))
    # Each is aliased with a main effect, and parallel to no other pair.
    assert lines["cannot"].endswith(": a × b, a × model=y, b × model=y")
    assert lines["aliased"] == "model=y includes +0.50 of a × b"


def test_the_smallest_effect_by_hand() -> None:
    # Two runs on each side of 4 arms: weights of 1/2, their squares sum to 1; 3 seeds, 100 rows, two effects.
    variance = 1 * 0.01**2 / 3 + 0.1 / 100
    by_hand = (2.2414 + 0.8416) * math.sqrt(variance)
    deviation = np.array(0.01)
    smallest = estimate_smallest_effect(FULL, 3, {"set": 100}, {"set": deviation})
    assert smallest == pytest.approx(by_hand, rel=1e-4)
    # Two data sets halve the variance.
    both = estimate_smallest_effect(FULL, 3, {"a": 100, "b": 100}, {"a": deviation, "b": deviation})
    assert both == pytest.approx(by_hand / math.sqrt(2), rel=1e-4)


def test_the_range_of_the_smallest_effect_is_that_of_the_spread() -> None:
    spread = Spread(0.02, 5)
    ends = [estimate_smallest_effect(FULL, 3, {"set": 100}, {"set": each}) for each in spread.quantiles([0.1, 0.9])]
    assert predict_smallest_effect(FULL, 3, {"set": 100}, {"set": spread}) == pytest.approx(ends, rel=1e-3)
    # On two data sets the spreads hardly are at the same end.
    low, high = predict_smallest_effect(FULL, 3, {"a": 100, "b": 100}, {"a": spread, "b": spread})
    assert high / low < ends[1] / ends[0]
    text = describe_range(FULL, 3, {"set": 100}, {"set": spread})
    assert text.startswith("effects from 0.101 to 0.116 on (80% range), 80% of the time, if a trick changes 10% of the")
    assert text.endswith("another seed moves a score by 0.015 to 0.035")


def test_a_plan_counts_the_runs_of_all_lengths() -> None:
    lines = dict(describe_plan(SPACE, FULL, 3, {"set": 400}, (), (1, 2)))
    assert lines["runs"].startswith("24: 4 arms (full), 3 seeds") and lines["runs"].endswith(
        "at 1 and 2 times the updates"
    )
    assert "as in the project's own studies" in lines["detects"]


def test_the_detectable_effect_follows_from_the_widest_interval() -> None:
    # Two effects: the critical value is 2.2414, and 80 % take 0.8416 standard errors more.
    assert estimate_detectable([(-0.01, 0.03), (0.0, 0.01)]) == pytest.approx(0.02 * (1 + 0.8416 / 2.2414), rel=1e-4)
