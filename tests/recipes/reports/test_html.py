"""The design of pages: structure, languages, numbers on the right, and contrast in light and dark."""

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import pytest

from recipes.reports import html
from recipes.reports.charts import MARKS, Estimate, Intervals, Plot, Series, fit_axis
from recipes.reports.document import Answer, Charts, Folded, Heading, Part, Table, as_html
from recipes.reports.html import find_language
from tests.recipes.reports.pages import check_page

STYLE = (Path(html.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")


def colours() -> dict[str, Mapping[str, str]]:
    """The colours of each mode: light, dark and print."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    assert len(blocks) == 3
    return {
        mode: dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})", block))
        for mode, block in zip(("light", "dark", "print"), blocks, strict=True)
    }


def channels(colour: str) -> list[float]:
    return [int(colour[first : first + 2], 16) / 255 for first in (1, 3, 5)]


def contrast(one: list[float], other: list[float]) -> float:
    """The contrast ratio of WCAG 2.2."""

    def luminance(rgb: list[float]) -> float:
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def mix(one: list[float], other: list[float], part: float) -> list[float]:
    return [part * a + (1 - part) * b for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize("mode", ["light", "dark", "print"])
def test_text_and_marks_can_be_read(mode: str) -> None:
    values = {name: channels(colour) for name, colour in colours()[mode].items()}
    for ground in ("ground", "panel"):
        for text in ("ink", "muted", "link", "good", "note", "warning", "error"):
            assert contrast(values[text], values[ground]) >= 4.5, (text, ground)
    for style in range(len(MARKS)):
        assert contrast(values[f"s{style}"], values["ground"]) >= 3, style
    # Numbers on the darkest cell of a matrix and on a bar.
    for fraction in map(float, re.findall(r"var\(--s0\) (?:calc\(var\(--part\) \* )?(\d+)%", STYLE)):
        ground = mix(values["s0"], values["ground"], fraction / 100)
        assert contrast(values["ink"], ground) >= 4.5, fraction


# Machado, Oliveira and Fernandes 2009, at full severity, on linear light.
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_who_confuses_red_and_green_tells_the_curves_apart(mode: str, deficiency: str) -> None:
    matrix, values = DEFICIENCIES[deficiency], colours()[mode]

    def seen(colour: str) -> list[float]:
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels(colour)]
        mixed = [min(max(sum(a * b for a, b in zip(row, linear, strict=True)), 0), 1) for row in matrix]
        return [12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055 for value in mixed]

    # The first three, of which most plots have no more; all six have shapes of their own.
    for one, other in combinations([seen(values[f"s{style}"]) for style in range(3)], 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 0.2
    assert len({path for _, path in MARKS}) == len(MARKS) == len(re.findall(r"\.s\d \{", STYLE))


def test_a_page_has_a_valid_structure_with_every_kind_of_chart() -> None:
    axis = fit_axis("update", [], 0, 10)
    rows = [Estimate("物流", 0.5, (0.25, 0.75), "0.5")]
    points = [(0.0, 0.0), (10.0, 10.0)]
    plot = Plot("Plot", axis, axis, [Series("a", points, intervals=points), Series("b", points, 1)], "", (2.0, 4.0))
    parts: list[Part] = [
        Answer("good", "It learned"),
        Heading("One"),
        Charts([plot, Intervals("Intervals", fit_axis("", [0, 1]), rows, band=(0.1, 0.2))]),
        Heading("Deeper", 3),
        Heading("Two"),
        Folded("More", [Table(["a"], [["1"]])]),
        Heading("Three"),
    ]
    page = check_page(as_html("Title", parts, "About"))
    assert page.tags.count("h2") == 3 and page.tags.count("nav") == 1
    assert [values.get("lang") for values in page.all("text") if "lang" in values] == ["zh"]
    assert "prefers-color-scheme: dark" in STYLE and "@media print" in STYLE


@pytest.mark.parametrize(
    ("text", "language"),
    [("物流很慢", "zh"), ("とても遅い配達", "ja"), ("배송이 늦다", "ko"), ("slow", ""), ("Größe", ""), ("", "")],
)
def test_a_text_has_the_language_of_its_characters(text: str, language: str) -> None:
    assert find_language(text) == language


def test_jinja_is_imported_when_a_page_is_written() -> None:
    source = Path(html.__file__).read_text(encoding="utf-8")
    assert not re.search(r"^(import|from) jinja2", source, re.M)


def test_a_wide_table_scrolls_and_a_long_class_name_leaves_a_phone_room_for_numbers() -> None:
    # Without it a sentence in the last column has a word in each line.
    assert re.search(r"^table \{[^}]*width: max-content;", STYLE, re.MULTILINE)
    assert re.search(r"^th, td \{[^}]*max-width: min\(22rem, 45vw\); overflow-wrap: break-word;", STYLE, re.MULTILINE)
