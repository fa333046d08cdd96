"""HTML: a complete page, a table and a figure, to the letter."""

import io

from markupsafe import Markup

from recipes.reports.html import STYLE, render_figure, render_page, render_table


def test_a_page_is_complete_and_its_title_escaped() -> None:
    assert render_page("a < b", [Markup("<p>1</p>"), "<p>2"]) == (
        '<!doctype html>\n<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>a &lt; b</title><style>{STYLE}</style></head><body>\n<p>1</p>\n&lt;p&gt;2\n</body></html>\n"
    )


def test_a_page_loads_nothing() -> None:
    assert "url(" not in STYLE and "@import" not in STYLE


def test_a_table_escapes_all_that_is_not_markup() -> None:
    assert render_table(["a & b", ""], [[Markup("<b>1</b>"), "<2"], ["3", "4"]]) == (
        "<table><tr><th>a &amp; b</th><th></th></tr>"
        "<tr><td><b>1</b></td><td>&lt;2</td></tr><tr><td>3</td><td>4</td></tr></table>"
    )


def test_a_figure_begins_with_its_svg_element() -> None:
    def draw(stream: io.StringIO) -> None:
        stream.write('<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg><g/></svg>')

    assert render_figure(draw) == "<figure><svg><g/></svg></figure>"
