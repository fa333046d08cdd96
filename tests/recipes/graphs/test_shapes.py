"""The plan of shapes: few recordings, little padding, and nothing that depends on the past."""

from collections import Counter

import pytest

from recipes.graphs.shapes import MOST, RECORDING, Plan, plan_shapes

LAUNCH = 16_384


@pytest.mark.parametrize(
    ("shape", "padded"),
    [((32, 16), (32, 16)), ((32, 17), (32, 32)), ((25, 1), (32, 16)), ((1, 33), (8, 40)), ((9, 64), (16, 64))],
)
def test_a_part_is_padded_to_the_next_multiples_but_not_beyond_the_model(
    shape: tuple[int, int], padded: tuple[int, int]
) -> None:
    """The model reads 40 tokens. A part that is wider already, as one that is read in segments, stays as wide."""
    assert Plan(step=16, widest=40).pad(shape) == padded


def test_without_recordings_rows_stay_and_widths_are_the_same() -> None:
    plan = Plan(step=16, widest=128, recorded=frozenset({(8, 16)}), fraction=1.0).without_recordings()
    assert (plan.pad((5, 9)), plan.recorded, plan.fraction) == ((5, 16), frozenset(), 0.0)


def test_short_texts_have_small_steps_and_rare_shapes_are_not_recorded() -> None:
    parts = Counter({(32, width): 100 for width in range(10, 40)}) + Counter({(32, 90): 2, (7, 30): 3})
    plan = plan_shapes(parts, 128, LAUNCH)
    assert plan.step == 8
    assert plan.recorded == {(32, 16), (32, 24), (32, 32), (32, 40)}
    assert plan.fraction == pytest.approx(3000 / 3005)


def test_few_updates_of_long_texts_have_large_steps() -> None:
    """38 updates with 38 widths: at a step of 8 every shape would occur once or twice."""
    plan = plan_shapes(Counter({(16, 512 - 10 * number): 1 for number in range(38)}), 512, LAUNCH)
    assert plan.step == 128
    assert 1 <= len(plan.recorded) <= 4


def test_a_shape_is_recorded_from_where_it_pays() -> None:
    """A part of 512 tokens saves LAUNCH - 512 each time, and its recording costs as much as four launches."""
    pays = RECORDING * LAUNCH // (LAUNCH - 512) + 1
    assert plan_shapes({(32, 16): pays}, 128, LAUNCH).recorded == {(32, 16)}
    assert not plan_shapes({(32, 16): pays - 1}, 128, LAUNCH).recorded
    assert not plan_shapes({(128, LAUNCH // 128): 10_000}, 128, LAUNCH).recorded  # the device is busy all the time


def test_there_are_never_more_recordings_than_allowed() -> None:
    parts = {(rows, width): 1000 for rows in range(8, 80, 8) for width in range(8, 129, 8)}
    plan = plan_shapes(parts, 128, LAUNCH)
    assert len(plan.recorded) == MOST
    assert 0 < plan.fraction < 1


def test_a_run_without_parts_has_a_plan() -> None:
    assert plan_shapes({}, 128, LAUNCH).recorded == frozenset()
