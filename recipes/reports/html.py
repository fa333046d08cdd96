"""Parts of self-contained HTML pages: the page with its style, tables, and figures as inline SVG.

Text is escaped unless it is `Markup`. `Markup("<p>{}</p>").format(text)` escapes what it is filled with.
"""

import io
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup, escape

PAGE_START = "<!doctype html>"
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #8886; padding: .25rem .75rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child, table:has(th:last-child:empty) td:last-child { text-align: left; }
span { display: inline-block; max-width: 40rem; overflow-wrap: anywhere; text-align: left; }
figure { background: #fff; display: inline-block; margin: 1rem 1rem 1rem 0; max-width: 100%; }
figure svg { max-width: 100%; height: auto; }
.note { color: #888; }
"""


def render_page(title: str, body: Iterable[str]) -> str:
    """A complete page.

    Args:
        title: as plain text.
        body: lines, each as HTML or plain text.
    """
    head = Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{}</title>')
    opening = Markup("<html><head>{}<style>{}</style></head><body>").format(head.format(title), Markup(STYLE))
    return "\n".join([PAGE_START, opening, *map(escape, body), "</body></html>"]) + "\n"


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table.

    Args:
        header: names of the columns.
        rows: their cells, each as HTML or plain text.
    """
    lines = [render_all("<th>{}</th>", header), *(render_all("<td>{}</td>", row) for row in rows)]
    return Markup("<table>{}</table>").format(render_all("<tr>{}</tr>", lines))


def render_all(template: str, parts: Iterable[str]) -> Markup:
    """Fill an HTML template with each of some parts, each as HTML or plain text, and join the results."""
    return Markup("").join(Markup(template).format(part) for part in parts)


def render_figure(draw: Callable[[io.StringIO], None]) -> Markup:
    """A figure from a function that draws SVG into a stream."""
    stream = io.StringIO()
    draw(stream)
    svg = stream.getvalue()
    # An XML declaration and a doctype come before the element; HTML has no use for them.
    return Markup("<figure>{}</figure>").format(Markup(svg[svg.index("<svg") :]))
