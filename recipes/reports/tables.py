"""Tables of scores in a terminal and in Markdown, and a progress line."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from recipes.reports.formats import format_score
from recipes.runtime.program import in_notebook, is_terminal

WIDTH_OF_FILES = 160
WIDTH_OF_NOTEBOOKS = 100
LEAST_WIDTH = 6
"""Of a score."""
WIDTH_OF_FIGURES = 9
"""Of a number of a class."""
PADDING = 4
"""Next to a cell, with the edge of the table."""
MOST_CLASSES, WORST_CLASSES = 20, 5
"""Classes that are printed: up to this number all of them, and of more this number."""
# What Markdown would take for emphasis, code, a link or a picture. An underscore inside a word is none of these.
MARKDOWN = re.compile(r"[\\`*~\[]|(?<!\w)_|_(?!\w)")
ENTITY, TAG = re.compile(r"&(?=#?\w+;)"), re.compile(r"<(?=[A-Za-z/!?])")


def console_for_tables(stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for tables where the output is a file."""
    has_terminal = is_terminal(sys.stderr if stderr else sys.stdout)
    # rich would assume 80 columns of a file, and cut wide tables for good.
    width_elsewhere = WIDTH_OF_NOTEBOOKS if in_notebook() else WIDTH_OF_FILES
    width = shutil.get_terminal_size().columns if has_terminal else width_elsewhere
    return make_console(stderr, width=width)


def make_console(stderr: bool = False, **options: Any) -> Console:
    """A console that writes lines where it cannot draw them again, such as in a file or a notebook."""
    # A kernel sets FORCE_COLOR, for which rich would take a file for a terminal.
    force_terminal = None if is_terminal(sys.stderr if stderr else sys.stdout) else False
    return Console(stderr=stderr, highlight=False, force_terminal=force_terminal, force_jupyter=False, **options)


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


class ScoreTable:
    """A table of scores for the terminal: a line for each metric, a column for each split, run or file.

    Columns that do not fit into the width follow in a table below.

    Args:
        columns: the metrics of each column, by its name. A metric that a column lacks leaves an empty cell.
        title: of the table.
    """

    def __init__(self, columns: Mapping[str, Mapping[str, Any]], title: str) -> None:
        self.columns, self.title = columns, title
        self.metrics = list(dict.fromkeys(name for metrics in columns.values() for name in metrics))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw one table, or as many as the width needs."""
        widths = {name: max(cell_len(name), LEAST_WIDTH) + PADDING for name in self.columns}
        room = options.max_width - max(map(cell_len, ["metric", *self.metrics])) - PADDING
        title = self.title
        names = list(self.columns)
        while names:
            count = 1
            while count < len(names) and sum(widths[name] for name in names[: count + 1]) <= room:
                count += 1
            yield self._draw(names[:count], title)
            names, title = names[count:], ""

    def _draw(self, names: Sequence[str], title: str) -> Table:
        table = Table(title=escape(title) or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        table.add_column("metric")
        for name in names:
            table.add_column(escape(name), justify="right", overflow="fold")
        for metric in self.metrics:
            table.add_row(escape(metric), *(escape(format_score(self.columns[name].get(metric))) for name in names))
        return table


def print_classes(console: Console, classes: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Print precision, recall, F1 and rows of each class; of many classes, those with the lowest F1 alone.

    Args:
        console: to print on.
        classes: the scores of each class, as `metrics.json` has them.
        title: of the table.
    """
    shown = list(classes)
    if len(classes) > MOST_CLASSES:
        # The scores of a class without rows mean nothing.
        scored = [name for name in classes if classes[name]["support"]]
        shown = sorted(scored, key=lambda name: classes[name]["f1"])[:WORST_CLASSES]
        title = f"{title}: the {len(shown)} with the lowest F1"
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    # A long name is cut, and not the numbers.
    room = console.width - 4 * (WIDTH_OF_FIGURES + PADDING) - PADDING
    table.add_column("class", no_wrap=True, overflow="ellipsis", max_width=room)
    for header in ("rows", "precision", "recall", "f1"):
        table.add_column(header, justify="right", min_width=WIDTH_OF_FIGURES)
    for name in shown:
        scores = classes[name]
        cells = (f"{scores[kind]:.4f}" for kind in ("precision", "recall", "f1"))
        table.add_row(escape(" ".join(name.split())), f"{scores['support']:,}", *cells)
    console.print(table)
    if hidden := len(classes) - len(shown):
        console.print(f"{hidden:,} more classes are in metrics.json.", markup=False)


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
