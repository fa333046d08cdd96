"""Finished runs as one self-contained HTML page."""

from collections.abc import Sequence

from recipes.reports.comparison_parts import comparison_parts
from recipes.reports.document import as_html
from recipes.reports.run_parts import run_parts
from recipes.runs.folder import RunFolder


def page(runs: Sequence[RunFolder]) -> str:
    """The HTML of some runs, in this order."""
    if len(runs) == 1:
        return as_html(runs[0].folder.resolve().name, run_parts(runs[0]), about="A run of Trickbook")
    return as_html(f"{len(runs)} runs side by side", comparison_parts(runs), about="A comparison by Trickbook")
