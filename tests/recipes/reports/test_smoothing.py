"""The smoothed loss: by hand, from its first value on, and without losses that are not finite."""

import math

import pytest

from recipes.reports.smoothing import SmoothedLoss, smooth


def test_the_average_by_hand() -> None:
    # Weights 0.02 * 0.98^k, newest first, divided by their sum.
    first, second, third = smooth([4.0, 2.0, 1.0])
    assert first == pytest.approx(4.0)
    assert second == pytest.approx((0.98 * 4 + 2) / 1.98)
    assert third == pytest.approx((0.98**2 * 4 + 0.98 * 2 + 1) / (0.98**2 + 0.98 + 1))


def test_a_constant_loss_stays_what_it_is() -> None:
    assert smooth([0.7] * 200) == pytest.approx([0.7] * 200)


def test_a_value_does_not_depend_on_what_follows() -> None:
    assert smooth([3.0, 2.0, 1.0])[:2] == smooth([3.0, 2.0])


def test_without_losses_there_is_no_value() -> None:
    assert SmoothedLoss().value is None and smooth([]) == []


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_losses_that_are_not_finite_are_skipped(bad: float | None) -> None:
    average = SmoothedLoss()
    average.add(bad)
    assert average.value is None
    average.add(2.0)
    average.add(bad)
    assert average.value == pytest.approx(2.0)
