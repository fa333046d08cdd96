"""Documents: each kind of part as HTML and as Markdown."""

from typing import IO

import pytest

from recipes.reports.document import Code, Heading, Part, Table, as_html, as_markdown


def draw(stream: IO[str]) -> None:
    stream.write("<svg/>")


@pytest.mark.parametrize(
    ("part", "html", "markdown"),
    [
        (Heading("a & b"), "<h2>a &amp; b</h2>", "## a & b"),
        (
            Table(["<x>", "n"], [["a|b", "1"]]),
            "<table><tr><th>&lt;x&gt;</th><th>n</th></tr><tr><td>a|b</td><td>1</td></tr></table>",
            "| &lt;x> | n |\n| --- | ---: |\n| a\\|b | 1 |",
        ),
        (Table(["x"], [["<i>"]]), "<tr><td>&lt;i&gt;</td></tr>", "| &lt;i> |"),
        (Code("a < b\n\n"), "<pre>a &lt; b\n\n</pre>", "```\na < b\n```"),
        ("1 < 2", "<p>1 &lt; 2</p>", "1 < 2"),
        ("<a> [b](c)\n# d", "<p>&lt;a&gt; [b](c)\n# d</p>", "&lt;a> \\[b](c) # d"),
        (Heading("<a>"), "<h2>&lt;a&gt;</h2>", "## &lt;a>"),
        (Code("```\n<a>"), "<pre>```\n&lt;a&gt;</pre>", "````\n```\n<a>\n````"),
        (draw, "<figure><svg/></figure>", "# title\n"),
    ],
)
def test_a_part_is_rendered(part: Part, html: str, markdown: str) -> None:
    assert html in as_html("title", [part])
    assert markdown in as_markdown("title", [part])


def test_the_title_comes_first() -> None:
    assert "<body>\n<h1>a &amp; b</h1>\n<p>text</p>\n</body>" in as_html("a & b", ["text"])


def test_markdown_leaves_out_pictures_and_separates_parts_by_a_blank_line() -> None:
    assert as_markdown("title", [Heading("one"), draw, "text"]) == "# title\n\n## one\n\ntext\n"
