"""Tables: of scores in a terminal, and in Markdown."""

import shutil
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

WIDTH_OF_FILES = 160


def console_for_tables() -> Console:
    """A console as wide as the terminal; a file has no width, and a table that is cut in it is lost."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_OF_FILES
    return Console(highlight=False, width=width)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Names on the left, figures on the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def score_table(rows: Mapping[str, Mapping[str, float]], title: str, first: str = "split") -> Table:
    """A table with a row of metrics for each name."""
    names = list(dict.fromkeys(name for metrics in rows.values() for name in metrics))
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="right")
    for row, metrics in rows.items():
        cells = (f"{metrics[name]:.4f}" if isinstance(metrics.get(name), float) else str(metrics.get(name, ""))
                 for name in names)  # fmt: skip
        table.add_row(row, *cells)
    return table
