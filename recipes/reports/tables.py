"""Tables of scores in a terminal and in Markdown, and a progress line."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDTH_OF_FILES = 160
# What Markdown would take for emphasis, code, a link or a picture. An underscore inside a word is none of these.
MARKDOWN = re.compile(r"[\\`*~\[]|(?<!\w)_|_(?!\w)")
ENTITY, TAG = re.compile(r"&(?=#?\w+;)"), re.compile(r"<(?=[A-Za-z/!?])")


def console_for_tables(stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for tables where the output is a file."""
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    # rich would assume 80 columns of a file, and cut wide tables for good.
    width = shutil.get_terminal_size().columns if is_terminal else WIDTH_OF_FILES
    return Console(stderr=stderr, highlight=False, width=width)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with the first column on the left and the others on the right.

    Args:
        header: names of the columns.
        rows: cells as plain text, which is escaped.
    """
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [[markdown_text(cell).replace("|", "\\|") for cell in cells] for cells in (header, *rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], rule, *lines[1:]))


def markdown_text(text: str) -> str:
    """Plain text as Markdown that shows it as it is, in one line; no HTML, link or emphasis comes of it."""
    escaped = MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))
    return TAG.sub("&lt;", ENTITY.sub("&#38;", escaped))


def markdown_code(text: str, language: str = "") -> str:
    """A block of code in Markdown; its fence is longer than any in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def figure_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The same for a terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(header):
        table.add_column(escape(name), justify="right" if index else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def score_table(rows: Mapping[str, Mapping[str, float]], title: str, first: str = "split") -> Table:
    """A table of scores for the terminal.

    Args:
        rows: the metrics of each row, by its name. A metric that a row lacks leaves an empty cell.
        title: of the table.
        first: header of the column of names.
    """
    names = list(dict.fromkeys(name for metrics in rows.values() for name in metrics))
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column(escape(first))
    for name in names:
        table.add_column(escape(name), justify="right")
    for row, metrics in rows.items():
        cells = (
            f"{metrics[name]:.4f}" if isinstance(metrics.get(name), float) else str(metrics.get(name, ""))
            for name in names
        )
        table.add_row(escape(row), *map(escape, cells))
    return table


@contextmanager
def progress(what: str) -> Iterator[tuple[Console, Callable[[int], None]]]:
    """Inside this context standard error shows a count and the time elapsed, where it is a terminal.

    Args:
        what: what is counted, such as "rows".

    Yields:
        A console to print on without breaking the line, and a function that takes the new count.
    """
    console = console_for_tables(stderr=True)
    columns = (TextColumn("{task.completed:,} " + what), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield console, lambda done: bar.update(task, completed=done)
