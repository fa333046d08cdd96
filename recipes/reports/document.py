"""What a page is made of, and the same as HTML and as Markdown."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import IO

from recipes.reports import html
from recipes.reports.tables import markdown_table


@dataclass(frozen=True)
class Heading:
    """Of a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """Names on the left."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Code:
    """What a user can copy."""

    text: str


Picture = Callable[[IO[str]], None]
Part = Heading | Table | Code | Picture | str


def as_html(title: str, parts: Iterable[Part]) -> str:
    """A page that needs nothing else."""
    return html.document(title, [f"<h1>{escape(title)}</h1>", *map(_as_html, parts)])


def as_markdown(title: str, parts: Iterable[Part]) -> str:
    """The same without the pictures."""
    return "\n\n".join([f"# {title}", *filter(None, map(_as_markdown, parts))]) + "\n"


def _as_html(part: Part) -> str:
    match part:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Table(header, rows):
            return html.table(header, [[escape(cell) for cell in row] for row in rows])
        case Code(text):
            return f"<pre>{escape(text)}</pre>"
        case str():
            return f"<p>{escape(part)}</p>"
        case _:
            return html.picture(part)


def _as_markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {text}"
        case Table(header, rows):
            return markdown_table(header, rows)
        case Code(text):
            return f"```\n{text.rstrip()}\n```"
        case str():
            return part
        case _:
            return ""
