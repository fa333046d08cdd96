"""Parts of self-contained HTML pages: the page with its style, tables, and figures as inline SVG."""

import io
from collections.abc import Callable, Iterable, Sequence
from html import escape

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
        title: as plain text; it is escaped here.
        body: lines of HTML.
    """
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    opening = f"<html><head>{head}<style>{STYLE}</style></head><body>"
    return "\n".join([PAGE_START, opening, *body, "</body></html>"]) + "\n"


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table.

    Args:
        header: names of the columns, as plain text; they are escaped here.
        rows: cells that are HTML already.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def render_figure(draw: Callable[[io.StringIO], None]) -> str:
    """A figure from a function that draws SVG into a stream."""
    stream = io.StringIO()
    draw(stream)
    svg = stream.getvalue()
    # An XML declaration and a doctype come before the element; HTML has no use for them.
    return f"<figure>{svg[svg.index('<svg') :]}</figure>"
