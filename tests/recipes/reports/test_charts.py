"""Charts: axes by hand, where a value is drawn, what the legend and the words say, and names that fit."""

import pytest

from recipes.reports.charts import Axis, Estimate, Intervals, Plot, Series, fit_axis, shorten, thin


@pytest.mark.parametrize(
    ("values", "low", "high", "ticks"),
    [
        ([0.61, 0.89], None, None, ["0.6", "0.7", "0.8", "0.9"]),
        ([0.81, 0.89], None, None, ["0.80", "0.82", "0.84", "0.86", "0.88", "0.90"]),
        ([-0.013, 0.004], None, None, ["-0.015", "-0.010", "-0.005", "0.000", "0.005"]),
        ([], 0, 60, ["0", "20", "40", "60"]),
        ([], 0, 51, ["0", "20", "40"]),
        ([], 0, 120_000, ["0", "50,000", "100,000"]),
        ([0.0, 7e12], None, None, ["0", "2e+12", "4e+12", "6e+12", "8e+12"]),
        ([0.5, 0.5], None, None, ["0.45", "0.50", "0.55"]),
        ([0.0], 0.0, None, ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ([float("nan"), float("inf")], None, None, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_an_axis_has_round_ticks(values: list[float], low: float | None, high: float | None, ticks: list[str]) -> None:
    axis = fit_axis("", values, low, high)
    assert [axis.format(tick) for tick in axis.ticks] == ticks
    assert all(axis.low <= value <= axis.high for value in values if value == value and abs(value) < 1e15)


def test_a_value_is_drawn_by_its_distance_from_the_low_end() -> None:
    assert Axis("", 0.5, 1.0, 0.1).percent(0.75) == 50
    assert Axis("", -0.02, 0.06, 0.02).percent(0.0) == 25


def test_a_line_goes_down_where_values_fall() -> None:
    series = Series("loss", [(0, 1.0), (10, 0.25)], kind="line")
    plot = Plot("Loss", fit_axis("update", [], 0, 10), fit_axis("loss", [], 0, 1), [series])
    assert plot.outline(series) == "0,0 100,75"
    assert plot.description == "Loss: loss over update. loss: 2 points, from 1 at 0 to 0.25 at 10."


def test_the_legend_names_what_there_is_to_tell_apart() -> None:
    axis, points = fit_axis("", [], 0, 1), [(0.0, 0.5), (1.0, 0.5)]
    one, two = Series("one", points, 0), Series("two", points, 1)
    guide = Series("diagonal", points, 5, "guide")
    assert Plot("", axis, axis, [one, guide]).legend == []
    assert [(each.name, each.glyph) for each in Plot("", axis, axis, [one, two, guide]).legend] == [
        ("one", "●"),
        ("two", "■"),
    ]
    assert Series("no marks", points, 0, "line").glyph == "─"


def test_a_long_curve_has_no_marks_and_keeps_its_peaks() -> None:
    points = [(float(number), 1.0 if number == 777 else 0.0) for number in range(2000)]
    assert Series("long", points).marked_points == ()
    # A single point has no line, so that a mark shows it.
    assert Series("short", points[:2], kind="line").marked_points == ()
    assert Series("single", points[:1], kind="line").marked_points == points[:1]
    few = thin(points, 300)
    assert len(few) <= 300 and (777.0, 1.0) in few and few == sorted(few)
    assert thin(points[:300], 300) == points[:300]


def test_intervals_are_explained_by_their_styles_and_in_words() -> None:
    rows = [Estimate("mixup", 0.03, (0.01, 0.05), "+0.0300", 2), Estimate("swa", 0.0, None, "+0.0000", 5)]
    chart = Intervals("Effects", fit_axis("", [0, 0.05]), rows, styles=[(2, "helps"), (4, "hurts"), (5, "open")])
    assert chart.legend == [(2, "▲", "helps"), (5, "○", "open")]
    assert chart.description == "Effects. mixup: +0.0300 (0.01 to 0.05). swa: +0.0000."


def test_a_name_is_cut_by_its_width() -> None:
    assert shorten("a" * 30) == "a" * 30
    assert shorten("a" * 31) == "a" * 29 + "…"
    assert shorten("物" * 15) == "物" * 15
    assert shorten("物" * 16) == "物" * 14 + "…"
    assert shorten("two\nlines  here") == "two lines here"
