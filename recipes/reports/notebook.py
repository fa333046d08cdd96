"""What a notebook shows: short HTML of a result, a line that is updated while a run trains, and a page.

The HTML has no colour of its own, so it follows a light and a dark theme. All text is escaped.
"""

import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from recipes.config import value_at
from recipes.findings import SEVERITIES
from recipes.metrics import Predictions
from recipes.reports.formats import begin_upper, format_score, shorten_text
from recipes.reports.health import BASELINES, describe_headline
from recipes.runs.folder import RunFolder
from recipes.runtime.program import in_notebook

MOST_ROWS = 10
"""Rows of a table of predictions."""
MOST_FINDINGS = 5
MOST_CHARACTERS = 100
"""Of a text in a table."""
CELL = "padding:.2em .8em;border-bottom:1px solid rgba(128,128,128,.4);vertical-align:top"
PAGE_HEIGHT = 600
"""Pixels of a page inside a notebook."""


class NotebookLine:
    """A line of a notebook's output that is replaced by the next one; elsewhere nothing is shown.

    Whether there is a notebook is decided when the first line is shown: a job may redirect the output later.
    """

    @cached_property
    def handle(self) -> Any:
        """The output, which appears with the first line; None outside a notebook."""
        if not in_notebook():
            return None
        from IPython import display

        outputs: Any = display
        return outputs.display({"text/plain": ""}, raw=True, display_id=True)

    def show(self, line: str) -> bool:
        """Show a line in place of the one before; returns whether there is a notebook to show it."""
        if self.handle is None:
            return False
        html = Markup("<pre>{}</pre>").format(line)
        self.handle.update({"text/plain": line, "text/html": html}, raw=True)
        return True


def show_page(page: Path) -> None:
    """Show a page: inside a notebook, or in the browser."""
    if not in_notebook():
        webbrowser.open(page.resolve().as_uri())
        return
    from IPython import display

    outputs: Any = display
    # The page is part of the notebook, since a notebook may not open files of the machine that computes.
    frame = '<iframe srcdoc="{}" style="width:100%;height:{}px;border:1px solid rgba(128,128,128,.4)"></iframe>'
    outputs.display(outputs.HTML(Markup(frame).format(page.read_text(encoding="utf-8"), PAGE_HEIGHT)))


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> Markup:
    """A table without colours.

    Args:
        header: names of the columns.
        rows: their cells.
        left: how many of the first columns hold text; the others hold numbers, on the right.
    """

    def line(tag: str, cells: Sequence[str]) -> Markup:
        template = Markup('<{0} style="{1};text-align:{2}">{3}</{0}>')
        sides = ("left" if index < left else "right" for index in range(len(cells)))
        return Markup("<tr>{}</tr>").format(
            Markup("").join(template.format(tag, CELL, side, cell) for side, cell in zip(sides, cells, strict=True))
        )

    table = Markup('<table style="border-collapse:collapse;margin:.5em 0">{}{}</table>')
    return table.format(line("th", header), Markup("").join(line("td", row) for row in rows))


def html_lines(lines: Iterable[str]) -> Markup:
    """A paragraph for each line."""
    return Markup("").join(Markup('<p style="margin:.3em 0;max-width:60em">{}</p>').format(line) for line in lines)


def run_html(run: RunFolder) -> Markup:
    """A finished run: its headline, its scores next to those of its baselines, and its findings."""
    metrics, health = run.metrics, run.health or {}
    columns = {split: metrics[split] for split in reversed(run.splits) if metrics[split]}
    names = dict.fromkeys(name for scores in columns.values() for name in scores)
    for name, scores in health.get("baselines", {}).items():
        if scores:
            columns[f"validation, {BASELINES[name]}"] = scores
    # The metric that has chosen the weights comes first.
    first = value_at(run.config, "evaluate.metric")
    rows = [
        [name, *(format_score(scores.get(name)) for scores in columns.values())]
        for name in sorted(names, key=lambda name: name != first)
    ]
    findings = [f"{each['severity']}: {each['message']} Do: {each['remedy']}." for each in health.get("findings", ())]
    return Markup("<div>{}{}{}</div>").format(
        html_lines([begin_upper(describe_headline(health))] if health else []),
        html_table(["", *columns], rows),
        html_lines([*findings[:MOST_FINDINGS], f"{run.folder} · .show() opens the page of this run."]),
    )


def predictions_html(predictions: Predictions, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Markup:
    """The first predictions, each with its text and its probability."""
    header = ["text", *([] if pairs is None else ["pair"]), "prediction", "probability"]
    rows = []
    for row, name in enumerate(predictions.names()[:MOST_ROWS]):
        chance = predictions.probabilities[row][predictions.decisions[row] == 1]
        columns = [texts] if pairs is None else [texts, pairs]
        cells = [shorten_text(column[row], MOST_CHARACTERS) for column in columns]
        label = name if isinstance(name, str) else ", ".join(name) or "no label"
        rows.append([*cells, label, ", ".join(f"{value:.3f}" for value in chance)])
    left = len(predictions.ids) - len(rows)
    more = [f"and {left:,} more; .to_frame() has all of them."] if left else []
    return Markup("<div>{}{}</div>").format(html_table(header, rows, len(header) - 1), html_lines(more))


def findings_html(headline: str, findings: Iterable[Mapping[str, Any]]) -> Markup:
    """Findings of the doctor, worst first."""
    ranked = sorted(findings, key=lambda each: SEVERITIES.index(each["severity"]))
    rows = [[each["severity"], each["check"], each["message"], each["remedy"]] for each in ranked]
    table = html_table(["", "check", "finding", "what to do"], rows, 4) if rows else Markup("")
    return Markup("<div>{}{}</div>").format(html_lines([begin_upper(headline)]), table)
