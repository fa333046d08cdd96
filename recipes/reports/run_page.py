"""A page to look at: one or several finished runs as one HTML file that needs nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from recipes.config import Data
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.metrics import LOWER_IS_BETTER, Predictions, f1, intervals, marks
from recipes.reports.html import document, picture, table
from recipes.reports.monitor import Watch
from recipes.reports.plots import draw_confusion, draw_learning_curve, draw_reliability, draw_scores
from recipes.runs.folder import RunFolder

SHOWN = 20
LONGEST = 400
SURE = 0.9


def page(runs: Sequence[RunFolder]) -> str:
    """The HTML of some runs, in this order."""
    named = dict(zip(_names(runs), runs, strict=True))
    title = next(iter(named)) if len(named) == 1 else f"{len(named)} runs"
    body = [
        f"<h1>{escape(title)}</h1>",
        *(_together(named) if len(named) > 1 else ()),
        *(line for name, run in named.items() for line in _of(name, run)),
    ]
    return document(title, body)


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """The folders' names, with as many of those above as it takes to tell them apart."""
    paths = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-depth:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


def _together(runs: Mapping[str, RunFolder]) -> Iterator[str]:
    yield "<h2>Side by side</h2>"
    shown = [(name, _shown(run), run.metrics) for name, run in runs.items()]
    names = list(dict.fromkeys(name for _, split, metrics in shown for name in metrics[split]))
    best = {name: _best(name, [metrics[split].get(name) for _, split, metrics in shown]) for name in names}
    rows = []
    for run, split, metrics in shown:
        link = f'<a href="#{escape(run)}">{escape(run)}</a>'
        scores, cost = metrics[split], metrics["cost"]
        cells = [_score(scores.get(name), scores.get(name) == best[name]) for name in names]
        rows.append([f"{link} ({split})", *cells, f"{cost['train_seconds']:,.0f}", f"{cost['peak_memory_mb']:,.0f}"])
    yield table(["run", *names, "seconds", "MB"], rows)
    histories = {name: run.history for name, run in runs.items() if run.history}
    chosen_by = {name: runs[name].config["evaluate"]["metric"] for name in histories}
    for metric in sorted(set(chosen_by.values())):
        drawn = {name: history for name, history in histories.items() if chosen_by[name] == metric}
        yield picture(lambda to: draw_scores(drawn, metric, to))  # noqa: B023  (drawn at once)


def _best(name: str, values: Sequence[Any]) -> Any:
    there = [value for value in values if value is not None]
    return min(there) if name in LOWER_IS_BETTER else max(there)


def _of(name: str, run: RunFolder) -> Iterator[str]:
    split, metrics, history = _shown(run), run.metrics, run.history
    read = {name: run.load_predictions(name) for name in run.splits}
    held = read[split]
    yield f'<h2 id="{escape(name)}">{escape(name)}</h2>'
    cost = metrics["cost"]
    yield (
        f"<p>{escape(', '.join(metrics['tricks']) or 'no tricks')}; {escape(metrics['weights'])} weights; "
        f"{cost['train_seconds']:,.0f} s, {cost['peak_memory_mb']:,.0f} MB, {cost['passes_per_update']:g} passes an "
        "update.</p>"
    )
    yield "<h3>Scores</h3>"
    rows = []
    for part, predictions in read.items():
        within = intervals(predictions)
        rows += [
            [f"{escape(part)} {metric}", _score(value), _within(within.get(metric))]
            for metric, value in metrics[part].items()
        ]
    yield table(["", "", "95 % interval over rows"], rows)
    watch = Watch(len(held.classes), held.multi_label, run.config["tricks"])
    if seen := [escape(sentence) for line in history for sentence in watch.see(line)]:
        yield f"<h3>Seen while training</h3><ul>{''.join(f'<li>{sentence}</li>' for sentence in seen)}</ul>"
    if history:
        yield picture(lambda to: draw_learning_curve(history, run.config["evaluate"]["metric"], to))
    if not metrics[split]:
        yield f'<p class="note">No row of {escape(split)} has a label.</p>'
        return
    yield picture(lambda to: draw_reliability(held, to))
    yield picture(lambda to: draw_confusion(held, to))
    yield f"<h3>Class by class, {escape(split)}</h3>"
    yield table(["class", "rows", "precision", "recall", "F1"], list(_classes(held)))
    yield from _examples(run, split, held)


def _shown(run: RunFolder) -> str:
    return "test" if run.metrics.get("test") else "validation"


def _classes(held: Predictions) -> Iterator[list[str]]:
    asked, given, _ = marks(held)
    true, chosen, hits = asked.sum(0), given.sum(0), (asked * given).sum(0)
    scores = (hits / np.maximum(1, chosen), hits / np.maximum(1, true), f1(hits, true + chosen))
    for place, name in enumerate(held.classes):
        yield [escape(name), f"{true[place]:,}", *(f"{each[place]:.3f}" for each in scores)]


def _examples(run: RunFolder, split: str, held: Predictions) -> Iterator[str]:
    """The rows with the highest loss: hard for the model, or wrongly labelled where it is sure of another label."""
    if held.multi_label:
        return
    place = {name: number for number, name in enumerate(held.classes)}
    losses = np.array(
        [
            -np.log(max(float(shares[place[label]]), 1e-12)) if label in place else -1.0
            for label, shares in zip(held.labels, held.probabilities, strict=True)
        ]
    )
    worst = [row for row in np.argsort(-losses, kind="stable") if losses[row] > 0]
    wrong = [row for row in worst if held.names()[row] != held.labels[row]]
    suspicious = [row for row in wrong if held.probabilities[row].max() >= SURE][:SHOWN]
    texts = _texts(run, split, held)
    if isinstance(texts, str) and wrong:
        yield f'<p class="note">{escape(texts)}</p>'
    for title, rows in (
        (
            f"Most suspicious: the model is {SURE:.0%} sure of another label. Look whether the label is right",
            suspicious,
        ),
        ("Hardest of the others: the highest loss", [row for row in wrong if row not in suspicious][:SHOWN]),
    ):
        yield f"<h3>{title}</h3>"
        shown = []
        for row in rows:
            cells = [escape(str(cell)) for cell in (held.ids[row], held.labels[row], held.names()[row])]
            text = "" if isinstance(texts, str) else _text(texts[row])
            shown.append([*cells, f"{held.probabilities[row].max():.3f}", f"{losses[row]:.2f}", text])
        yield table(["id", "label", "answer", "probability", "loss", "text"], shown) if shown else "<p>None.</p>"


def _texts(run: RunFolder, split: str, held: Predictions) -> Sequence[str] | str:
    """The texts of a split, or why they cannot be shown."""
    try:
        splits = read_splits(Data(**run.config["data"]), run.config["evaluate"]["extra"], split == "test")
    except UserError as error:
        return f"The texts cannot be read again: {' '.join(error.problems)}"
    rows = splits.test if split == "test" else splits.validation
    if rows is None or list(rows["id"]) != list(held.ids):
        return "The texts cannot be shown: the data has changed since."
    pairs = rows["text_pair"]
    return [text if pair is None else f"{text} ⟂ {pair}" for text, pair in zip(rows["text"], pairs, strict=True)]


def _text(text: str) -> str:
    return f"<span>{escape(text if len(text) <= LONGEST else f'{text[:LONGEST]}…')}</span>"


def _score(value: Any, best: bool = False) -> str:
    shown = f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
    return f"<b>{shown}</b>" if best else shown


def _within(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else "{:.4f} to {:.4f}".format(*interval)
