"""A report as a list of parts, rendered as HTML or as Markdown."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from recipes.reports import html
from recipes.reports.charts import Intervals, Plot
from recipes.reports.tables import markdown_code, markdown_table, markdown_text

NUMBER = re.compile(r"[+-]?[\d,.]+( ?%)?(\s(to|of)\s[+-]?[\d,.]+)?")
"""A cell that stands on the right: a number, a range, or one number of another."""


@dataclass(frozen=True)
class Heading:
    """The heading of a section, or of a part of one."""

    kind: ClassVar[str] = "heading"

    text: str
    level: int = 2
    anchor: str = ""
    """By which links find it."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than its text."""

    text: str
    anchor: str = ""
    """Of the heading that it leads to."""
    shade: float | None = None
    """From 0 to 1: how dark its background is."""
    bar: float | None = None
    """From 0 to 1: how long the bar behind it is."""

    def __str__(self) -> str:
        """The text alone."""
        return self.text


@dataclass(frozen=True)
class Table:
    """A table, with names in the first column."""

    kind: ClassVar[str] = "table"

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str = ""

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, with a `Cell` for each text."""
        return [[each if isinstance(each, Cell) else Cell(each) for each in row] for row in self.rows]

    @property
    def is_number(self) -> list[bool]:
        """Whether each column holds nothing but numbers."""
        columns = [[row[index].text for row in self.cells] for index in range(len(self.header))]
        return [any(column) and all(NUMBER.fullmatch(cell) for cell in column if cell) for column in columns]


@dataclass(frozen=True)
class Code:
    """Text in a fixed width, such as a command to copy."""

    kind: ClassVar[str] = "code"

    text: str


@dataclass(frozen=True)
class Answer:
    """What a reader must see first: a headline, its tone, and a sentence or two."""

    kind: ClassVar[str] = "answer"

    tone: str
    """good, note, warning or error."""
    headline: str
    text: str = ""


@dataclass(frozen=True)
class Figures:
    """Numbers in large print: each with its label and a note."""

    kind: ClassVar[str] = "figures"

    items: Sequence[tuple[str, str, str]]
    """Label, number and note."""


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    kind: ClassVar[str] = "items"

    items: Sequence[str]


@dataclass(frozen=True)
class Step:
    """Something to do."""

    action: str
    reason: str = ""
    command: str = ""
    """To copy."""


@dataclass(frozen=True)
class Steps:
    """What to do, in order."""

    kind: ClassVar[str] = "steps"

    items: Sequence[Step]


@dataclass(frozen=True)
class Quotes:
    """Texts of the data, each with its facts by name."""

    kind: ClassVar[str] = "quotes"

    items: Sequence[tuple[str, Sequence[tuple[str, str]]]]


@dataclass(frozen=True)
class Folded:
    """Parts that are shown when a reader asks for them."""

    kind: ClassVar[str] = "folded"

    summary: str
    parts: Sequence["Part"]


@dataclass(frozen=True)
class Charts:
    """Charts next to each other, where the page is wide enough."""

    kind: ClassVar[str] = "charts"

    charts: Sequence[Plot | Intervals]


Part = Heading | Table | Code | Answer | Figures | Items | Steps | Quotes | Folded | Charts | str
"""A string is a paragraph. All text is plain; rendering escapes it."""
Section = tuple[Heading | None, list[Part]]
"""A heading of the second level, if the section has one, and the parts below it."""


def as_html(title: str, parts: Iterable[Part], about: str = "") -> str:
    """The report as a self-contained HTML page."""
    return html.render_page(title, _split(parts), about)


def _split(parts: Iterable[Part]) -> list[Section]:
    """Split a report before each heading of the second level."""
    sections: list[Section] = [(None, [])]
    for part in parts:
        if isinstance(part, Heading) and part.level == 2:
            sections.append((part, []))
        else:
            sections[-1][1].append(part)
    return sections


def as_markdown(title: str, parts: Iterable[Part]) -> str:
    """The report as Markdown, without the charts."""
    return "\n\n".join([f"# {markdown_text(title)}", *filter(None, map(_part_as_markdown, parts))]) + "\n"


def _part_as_markdown(part: Part) -> str:
    match part:
        case Heading(text, level):
            return f"{'#' * level} {markdown_text(text)}"
        case Table(header, rows):
            return markdown_table(header, [list(map(str, row)) for row in rows])
        case Code(text):
            return markdown_code(text)
        case Answer(_, headline, text):
            return "\n\n".join([f"**{markdown_text(headline)}**", *filter(None, [markdown_text(text)])])
        case Figures(items):
            return _list_as_markdown(f"{label}: {number} {note}" for label, number, note in items)
        case Items(items):
            return _list_as_markdown(items)
        case Steps(items):
            return "\n".join(map(_step_as_markdown, items))
        case Quotes(items):
            facts = (f"{', '.join(': '.join(fact) for fact in facts)}. {text}" for text, facts in items)
            return _list_as_markdown(facts)
        case Folded(_, parts):
            return "\n\n".join(filter(None, map(_part_as_markdown, parts)))
        case Charts():
            return ""
        case str():
            return markdown_text(part)


def _step_as_markdown(step: Step) -> str:
    text = f"- {markdown_text(f'{step.action} {step.reason}')}"
    return f"{text}\n\n{markdown_code(step.command)}" if step.command else text


def _list_as_markdown(items: Iterable[str]) -> str:
    return "\n".join(f"- {markdown_text(item)}" for item in items)
