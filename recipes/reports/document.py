"""A report as a list of parts, rendered as HTML or as Markdown."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO

from markupsafe import Markup

from recipes.reports import html
from recipes.reports.tables import markdown_code, markdown_table, markdown_text


@dataclass(frozen=True)
class Heading:
    """The heading of a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table, with names in the first column."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Code:
    """Text in a fixed width, such as a command to copy."""

    text: str


Picture = Callable[[IO[str]], None]
"""Draws SVG into a stream."""
Part = Heading | Table | Code | Picture | str
"""A string is a paragraph. All text is plain; rendering escapes it."""


def as_html(title: str, parts: Iterable[Part]) -> str:
    """The report as a self-contained HTML page."""
    return html.render_page(title, [Markup("<h1>{}</h1>").format(title), *map(_part_as_html, parts)])


def as_markdown(title: str, parts: Iterable[Part]) -> str:
    """The report as Markdown, without the pictures."""
    return "\n\n".join([f"# {markdown_text(title)}", *filter(None, map(_part_as_markdown, parts))]) + "\n"


def _part_as_html(part: Part) -> Markup:
    match part:
        case Heading(text):
            return Markup("<h2>{}</h2>").format(text)
        case Table(header, rows):
            return html.render_table(header, rows)
        case Code(text):
            return Markup("<pre>{}</pre>").format(text)
        case str():
            return Markup("<p>{}</p>").format(part)
        case _:
            return html.render_figure(part)


def _part_as_markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {markdown_text(text)}"
        case Table(header, rows):
            return markdown_table(header, rows)
        case Code(text):
            return markdown_code(text)
        case str():
            return markdown_text(part)
        case _:
            return ""
