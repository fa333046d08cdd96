"""What a notebook shows: escaped, without colours, short; and nothing of it outside a notebook."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipes.metrics import Predictions
from recipes.reports import notebook
from recipes.reports.notebook import NotebookLine, findings_html, html_table, predictions_html, run_html
from recipes.runs.folder import RunFolder

HTML = "<script>alert('&')</script>"


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the notebook of a fake IPython shows."""
    shown: list[Any] = []

    def display(data: Any, **options: Any) -> Any:
        shown.append(data)
        return (
            SimpleNamespace(update=lambda new, raw: shown.__setitem__(-1, new)) if options.get("display_id") else None
        )

    ipython: Any = ModuleType("IPython")
    ipython.display = ModuleType("IPython.display")
    ipython.display.display, ipython.display.HTML = display, str
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    monkeypatch.setattr(notebook, "in_notebook", lambda: True)
    return shown


def run_of(metrics: dict[str, Any]) -> RunFolder:
    """A run with these metrics."""
    predictions = Predictions(["0"], ["a"], np.ones((1, 1)), np.ones((1, 1)), ["a"], False)
    run = RunFolder.in_memory(Path("runs/<b>"), {"validation": predictions, "test": predictions}, metrics)
    run.__dict__["config"] = {"evaluate": {"metric": "loss"}}
    return run


def test_a_line_is_replaced_by_the_next_one(outputs: list[Any]) -> None:
    line = NotebookLine()
    assert outputs == []
    assert line.show("update 1/9") and line.show(HTML)
    (shown,) = outputs
    assert shown["text/plain"] == HTML and "<script>" not in shown["text/html"]


def test_outside_a_notebook_no_line_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert not NotebookLine().show("update 1/9")
    assert capsys.readouterr().out == ""


def test_a_page_is_shown_inside_the_notebook_or_in_the_browser(
    outputs: list[Any], write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write("page.html", '<p title="x">page</p>')
    notebook.show_page(page)
    assert 'srcdoc="&lt;p title=&#34;x&#34;&gt;page&lt;/p&gt;"' in outputs[0]
    opened: list[str] = []
    monkeypatch.setattr(notebook.webbrowser, "open", opened.append)
    monkeypatch.setattr(notebook, "in_notebook", lambda: False)
    notebook.show_page(page)
    assert opened == [page.as_uri()]


def test_a_run_has_its_headline_its_scores_by_the_chosen_metric_first_and_its_findings() -> None:
    scores = {"accuracy": 0.5, "loss": 1.25}
    finding = {"severity": "warning", "message": HTML, "remedy": "train longer", "consequence": ""}
    health = {
        "headline": "learned",
        "against": None,
        "findings": [finding],
        "baselines": {"majority": {"accuracy": 0.25}, "linear": None},
    }
    html = run_html(run_of({"validation": scores, "test": {"accuracy": 0.75, "loss": 1.0}, "health": health}))
    assert "<script>" not in html and "&lt;script&gt;" in html and "runs/&lt;b&gt;" in html
    cells = re.findall(r"<t[dh][^>]*>([^<]*)<", html)
    assert cells == [
        *["", "test", "validation", "validation, the majority class"],
        *["loss", "1.0000", "1.2500", ""],
        *["accuracy", "0.7500", "0.5000", "0.2500"],
    ]
    assert html.startswith("<div><p") and "It learned." in html and "Do: train longer." in html
    assert "color:" not in html.replace("border-", "") and "background" not in html
    # A run of an earlier version has no health.
    assert "0.5000" in run_html(run_of({"validation": scores, "test": {}}))


def test_the_first_predictions_are_shown_with_their_texts() -> None:
    probabilities = np.array([[0.9, 0.1]] * 12)
    decisions = (probabilities > 0.5).astype(int)
    predictions = Predictions(list("0" * 12), [None] * 12, probabilities, decisions, [HTML, "b"], False)
    html = predictions_html(predictions, [HTML, *["x" * 200] * 11], ["pair"] * 12)
    assert "<script>" not in html and html.count("0.900") == 10 and "x" * 101 not in html
    assert "and 2 more; .to_frame() has all of them." in html and ">pair<" in html
    both = Predictions(["0"], [None], np.array([[0.9, 0.8]]), np.ones((1, 2)), ["a", "b"], True)
    assert "a, b" in predictions_html(both, ["text"]) and "0.900, 0.800" in predictions_html(both, ["text"])
    none = Predictions(["0"], [None], np.array([[0.1, 0.2]]), np.zeros((1, 2)), ["a", "b"], True)
    assert "no label" in predictions_html(none, ["text"])


def test_findings_come_worst_first() -> None:
    findings = [{"severity": each, "check": "c", "message": each.upper(), "remedy": HTML} for each in ("note", "error")]
    html = findings_html("verdict: fix", findings)
    assert html.index("ERROR") < html.index("NOTE") and "<script>" not in html and "Verdict: fix" in html
    assert "<table" not in findings_html("verdict: clean", [])


def test_numbers_are_on_the_right_of_texts() -> None:
    html = html_table(["", "score"], [["a", "1"]])
    assert html.count("text-align:left") == html.count("text-align:right") == 2
