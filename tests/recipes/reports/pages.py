"""What every page must be, whatever it is about: `check_page` fails where it is not. And runs to make pages of."""

import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from recipes.metrics import Predictions, measure
from recipes.reports.html import PAGE_START
from recipes.runs.folder import RunFolder

# Elements that have no end.
VOID = ("meta", "img", "br", "link", "hr", "input")


class Page(HTMLParser):
    """The elements of a page in order; none runs a script, and each is closed where it must be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.parents: list[str] = []
        self.open: list[str] = []
        self.titles: list[str] = []
        """The first child of each SVG element."""
        self._is_in_new_svg = False
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        assert not [name for name, value in values.items() if name.startswith("on") or "script:" in value]
        if self._is_in_new_svg:
            self.titles.append(tag)
        self._is_in_new_svg = tag == "svg"
        self.elements.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    def all(self, name: str) -> list[dict[str, str]]:
        """The attributes of all elements of a name."""
        return [values for tag, values in self.elements if tag == name]


def tags(text: str) -> list[str]:
    """All opening tags of a page; fails where they do not close in order."""
    return Page(text).tags


def check_page(text: str) -> Page:
    """Read a page, and fail where it breaks a rule of all pages."""
    page = Page(text)
    assert text.startswith(PAGE_START)
    assert [values["lang"] for values in page.all("html")] == ["en"]
    for tag in ("head", "header", "main", "footer", "h1", "title"):
        outside_svg = page.tags.count(tag) - (page.tags.count("svg") if tag == "title" else 0)
        assert outside_svg == 1, tag
    # Each heading is at most one level below the one before it.
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(level <= above + 1 for above, level in zip(levels, levels[1:], strict=False)), levels
    # It needs nothing but itself.
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"url\(|@import|@font-face", text)
    links = [values["href"] for values in page.all("a")]
    ids = [values["id"] for _, values in page.elements if "id" in values]
    assert len(ids) == len(set(ids)) and not [each for each in ids if re.search(r"\s", each)]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert {values["aria-labelledby"] for values in page.all("section") if "aria-labelledby" in values} <= set(ids)
    # Who does not see a chart or a table reads what it is.
    assert page.titles == ["title"] * page.tags.count("svg")
    assert all(values.get("aria-label") for values in page.all("svg") if values.get("role") == "img")
    assert all(values["scope"] in ("row", "col") for values in page.all("th"))
    assert "winner" not in text
    assert len(text.encode()) < 300_000
    return page


def answers(labels: Sequence[Any], predicted: Sequence[str], classes: Sequence[str], sure: float = 0.8) -> Predictions:
    """Predictions that are equally sure of every answer."""
    decisions = np.array([[int(name == each) for each in classes] for name in predicted], np.int8)
    others = (1 - sure) / (len(classes) - 1)
    ids = [str(row) for row in range(len(labels))]
    return Predictions(ids, list(labels), np.where(decisions, sure, others), decisions, list(classes), False)


HEALTH: dict[str, Any] = {
    "headline": "learned",
    "findings": [],
    "baselines": {"majority": {"accuracy": 0.5}, "linear": {"accuracy": 0.625}},
    "against": {
        "baseline": "linear",
        "metric": "accuracy",
        "difference": 0.125,
        "low": 0.025,
        "high": 0.225,
        "fitted_on": 100,
    },
}


def finding(name: str, severity: str, remedy: str) -> dict[str, Any]:
    return {
        "name": name,
        "severity": severity,
        "remedy": remedy,
        "message": f"the {name} of it.",
        "consequence": "it is bad",
    }


def make_run(name: str, scored: Mapping[str, Predictions], **changed: Any) -> RunFolder:
    """A finished run in memory: as `metrics.json`, config and history would be read from its folder."""
    metrics = {
        **{split: measure(predictions) for split, predictions in scored.items()},
        "weights": "best",
        "cost": {"train_seconds": 1234.5, "peak_memory_mb": 600.0, "passes_per_update": 1.0},
        "health": HEALTH,
        "tricks": [],
        "versions": {"torch": "2"},
        "seed": 7,
        **changed,
    }
    run = RunFolder.in_memory(Path("runs") / name, scored, metrics)
    config = {
        "data": {"name": None, "source": "files", "train": "train.csv", "validation": None, "test": None},
        "model": {"name": None, "source": "minilm"},
        "train": {"max_updates": 40, "epochs": 3, "batch_size": 32, "learning_rate": 2e-5},
        "evaluate": {"metric": "accuracy", "extra": {}},
        "tricks": {},
    }
    history = [{"update": update, "loss": 1 / update, "grad_norm": 1.0} for update in (1, 2, 3, 4)]
    history += [{"update": update, "split": "validation", "accuracy": update / 8} for update in (2, 4)]
    run.__dict__ |= {"config": config, "history": history}
    return run
