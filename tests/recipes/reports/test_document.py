"""Documents: each kind of part as HTML and as Markdown."""

import re

import pytest

from recipes.reports.charts import Plot, Series, fit_axis
from recipes.reports.document import (
    Answer,
    Cell,
    Charts,
    Code,
    Figures,
    Folded,
    Heading,
    Items,
    Part,
    Quotes,
    Step,
    Steps,
    Table,
    as_html,
    as_markdown,
)

PLOT = Plot("a < b", fit_axis("x", [], 0, 1), fit_axis("y", [], 0, 1), [Series("<s>", [(0.0, 0.0), (1.0, 1.0)])])


@pytest.mark.parametrize(
    ("part", "html", "markdown"),
    [
        (Heading("a & b"), '<h2 id="part-2">a &amp; b</h2>', "## a & b"),
        (Heading("a", 3, "here"), '<h3 id="here">a</h3>', "### a"),
        (
            Table(["<x>", "n"], [["a|b", "1"]]),
            '<thead><tr><th scope="col">&lt;x&gt;</th><th scope="col" class="number">n</th></tr></thead> <tbody> '
            '<tr><th scope="row">a|b</th><td class="number">1</td></tr> </tbody>',
            "| &lt;x> | n |\n| --- | ---: |\n| a\\|b | 1 |",
        ),
        (Table(["x", "y"], [["a", "<i>"]]), "<td>&lt;i&gt;</td>", "| &lt;i> |"),
        (Table(["x"], [[Cell("<a>", "here")]]), '<a href="#here">&lt;a&gt;</a>', "| &lt;a> |"),
        (Table(["x", "y"], [["a", Cell("7", shade=0.25)]]), '<td class="shade number" style="--part:0.250">7', "| 7 |"),
        (Table(["x", "y"], [["a", Cell("7", bar=0.0)]]), '<td class="bar number" style="--part:0.000">7</td>', "| 7 |"),
        (Table(["x"], [["a"]], "<c>"), "<figcaption>&lt;c&gt;</figcaption>", "| a |"),
        (Code("a < b\n\n"), "<code>a &lt; b </code>", "```\na < b\n```"),
        ("1 < 2", "<p>1 &lt; 2</p>", "1 < 2"),
        ("<a> [b](c)\n# d", "<p>&lt;a&gt; [b](c) # d</p>", "&lt;a> \\[b](c) # d"),
        (Heading("<a>"), ">&lt;a&gt;</h2>", "## &lt;a>"),
        (Code("```\n<a>"), "<code>``` &lt;a&gt;</code>", "````\n```\n<a>\n````"),
        (Answer("error", "<a>", "b"), 'class="answer tone-error"', "**&lt;a>**\n\nb"),
        (Figures([("a", "1", "<n>")]), "<dt>a</dt><dd><strong>1</strong> <span>&lt;n&gt;</span></dd>", "- a: 1 &lt;n>"),
        (Items(["<a>", "b"]), "<li>&lt;a&gt;</li>", "- &lt;a>\n- b"),
        (Steps([Step("<a>", "b", "c")]), "<strong>&lt;a&gt;</strong>", "- &lt;a> b\n\n```\nc\n```"),
        (Quotes([("<t>", [("id", "7")])]), "<blockquote>&lt;t&gt;</blockquote>", "- id: 7. &lt;t>"),
        (Folded("<s>", ["<p>"]), "<summary>&lt;s&gt;</summary> <p>&lt;p&gt;</p>", "&lt;p>"),
        (Charts([PLOT]), "<title>a &lt; b</title>", "# title\n"),
    ],
)
def test_a_part_is_rendered(part: Part, html: str, markdown: str) -> None:
    assert html in re.sub(r"\s+", " ", as_html("title", [part]))
    assert markdown in as_markdown("title", [part])


def test_the_title_comes_first_and_once() -> None:
    text = as_html("a & b", ["text"], "about <this>")
    assert text.count("<h1>a &amp; b</h1>") == 1 and text.count("a &amp; b") == 2  # and the title of the window
    assert text.index("about &lt;this&gt;") < text.index("<h1>") < text.index("<p>text</p>")


def test_markdown_leaves_out_charts_and_separates_parts_by_a_blank_line() -> None:
    assert as_markdown("title", [Heading("one"), Charts([PLOT]), "text"]) == "# title\n\n## one\n\ntext\n"


def test_columns_of_numbers_stand_on_the_right() -> None:
    rows = [["a", "0.5", "0.1 to 0.2", "12 %", "1 row", ""], ["b", "-1,000", "", "3%", "2", ""]]
    assert Table(list("abcdef"), rows).is_number == [False, True, True, True, False, False]
