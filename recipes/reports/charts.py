"""Charts as data. `templates/page.html` draws them as SVG, in the colours and the font of the page.

All coordinates are percentages of the drawing, so that a chart fits a phone and a desk, and its text has one size.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, chop_cells

MARKS: Sequence[tuple[str, str]] = (
    ("●", "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z"),
    ("■", "M-4-4h8v8h-8z"),
    ("▲", "M0-5 5 4h-10z"),
    ("◆", "M0-5 5 0 0 5-5 0z"),
    ("▼", "M0 5 5-4h-10z"),
    ("○", "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0zM-2 0a2 2 0 1 1 4 0a2 2 0 1 1-4 0z"),
)
"""The shape of each style, as a character of the legend and as a path: nobody needs to tell the colours apart."""
MAX_MARKS = 40
"""Points up to which a curve has a mark at each."""
MAX_POINTS = 300
"""Points of a curve that are drawn."""
HUGE = 1e5
"""Distance of ticks from which on they are written with an exponent."""
MAX_COLUMNS = 30
"""Width of a name in a chart, in characters; a Chinese one counts as two. A phone has room for this."""


@dataclass(frozen=True)
class Axis:
    """A scale."""

    label: str
    low: float
    high: float
    step: float
    """Between two ticks."""

    @property
    def ticks(self) -> list[float]:
        """The values that are written at the axis."""
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [number * self.step for number in range(first, last + 1)]

    def format(self, value: float) -> str:
        """Write a tick with as many digits as its neighbours need; the losses of a diverged run may be huge."""
        if self.step >= HUGE:
            return f"{value:.3g}"
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{value + 0.0:z,.{digits}f}"

    def percent(self, value: float) -> float:
        """How far a value is from the low end to the high end, in percent."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


def fit_axis(label: str, values: Iterable[float], low: float | None = None, high: float | None = None) -> Axis:
    """An axis with room for some values and with round ticks.

    Args:
        label: what it measures.
        values: those that it must show.
        low: where it begins; by default at the tick below the smallest value.
        high: where it ends; by default at the tick above the largest value.
    """
    finite = [value for value in values if math.isfinite(value)]
    least = low if low is not None else min(finite, default=0.0)
    most = high if high is not None else max(finite, default=1.0)
    if most <= least:  # a single value is drawn in the middle
        margin = abs(least) / 10 or 0.5
        least, most = least - margin * (low is None), most + margin * (high is None)
    power = 10.0 ** math.floor(math.log10((most - least) / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= (most - least) / 5)
    return Axis(
        label,
        least if low is not None else math.floor(least / step + 1e-9) * step,
        most if high is not None else math.ceil(most / step - 1e-9) * step,
        step,
    )


@dataclass(frozen=True)
class Series:
    """Points of one kind in a plot."""

    name: str
    points: Sequence[tuple[float, float]]
    style: int = 0
    """Its colour and its shape."""
    kind: str = "curve"
    """curve: a line with marks; line: without; faint: a thin one; marks: no line; guide: dashed, not in the legend."""
    intervals: Sequence[tuple[float, float]] = ()
    """Of each point, if it has any."""

    @property
    def mark(self) -> str:
        """The path of its shape."""
        return MARKS[self.style % len(MARKS)][1]

    @property
    def glyph(self) -> str:
        """Its shape as a character."""
        return MARKS[self.style % len(MARKS)][0] if self.marked_points else "─"

    @property
    def marked_points(self) -> Sequence[tuple[float, float]]:
        """The points that have a mark; a single point is no line, so it has one."""
        most = MAX_MARKS if self.kind == "curve" else 1
        has_marks = self.kind == "marks" or len(self.points) <= most
        return self.points if has_marks else ()


@dataclass(frozen=True)
class Plot:
    """Values over values."""

    kind: ClassVar[str] = "plot"

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    caption: str = ""
    band: tuple[float, float] | None = None
    """From where to where on the y axis nothing matters."""

    @property
    def legend(self) -> list[Series]:
        """The series that the legend names; none if there is nothing to tell apart."""
        named = [series for series in self.series if series.kind != "guide"]
        return named if len(named) > 1 else []

    @property
    def description(self) -> str:
        """The plot in words, for those who do not see it."""
        sentences = [
            f"{series.name}: {len(series.points)} points, from {series.points[0][1]:.4g} at {series.points[0][0]:.4g} "
            f"to {series.points[-1][1]:.4g} at {series.points[-1][0]:.4g}."
            for series in self.series
            if series.points and series.kind != "guide"
        ]
        return " ".join([f"{self.title}: {self.y.label} over {self.x.label}.", *sentences])

    def outline(self, series: Series) -> str:
        """The corners of a series' line, in percent of the plot."""
        corners = thin(series.points, MAX_POINTS)
        return " ".join(f"{self.x.percent(x):g},{round(100 - self.y.percent(y), 2):g}" for x, y in corners)


@dataclass(frozen=True)
class Estimate:
    """A row of an interval chart."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    text: str = ""
    """The value in words."""
    style: int = 0

    @property
    def mark(self) -> str:
        """The path of its shape."""
        return MARKS[self.style % len(MARKS)][1]

    @property
    def note(self) -> str:
        """The row as a sentence."""
        interval = f" ({self.interval[0]:.4g} to {self.interval[1]:.4g})" if self.interval else ""
        return f"{self.label}: {self.text}{interval}."


@dataclass(frozen=True)
class Intervals:
    """A value and an interval in each row, under its name."""

    kind: ClassVar[str] = "intervals"

    title: str
    axis: Axis
    rows: Sequence[Estimate]
    caption: str = ""
    band: tuple[float, float] | None = None
    """From where to where nothing matters."""
    styles: Sequence[tuple[int, str]] = ()
    """The styles that the legend explains, each with its meaning."""

    @property
    def legend(self) -> list[tuple[int, str, str]]:
        """Style, character and meaning of each entry of the legend."""
        used = {row.style for row in self.rows}
        return [(style, MARKS[style % len(MARKS)][0], meaning) for style, meaning in self.styles if style in used]

    @property
    def description(self) -> str:
        """The chart in words, for those who do not see it."""
        return " ".join([f"{self.title}.", *(row.note for row in self.rows)])


Chart = Plot | Intervals


def thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Leave out points of a long line: of each stretch, the lowest and the highest one stay."""
    if len(points) <= most:
        return list(points)
    stretch = math.ceil(2 * len(points) / most)
    parts = [points[first : first + stretch] for first in range(0, len(points), stretch)]
    ends = [sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}) for part in parts]
    return [point for pair in ends for point in pair]


def shorten(name: str, columns: int = MAX_COLUMNS) -> str:
    """A name in one line that is at most so wide; a Chinese character takes two columns."""
    line = " ".join(name.split())
    return line if cell_len(line) <= columns else f"{chop_cells(line, columns - 1)[0]}…"
