"""Finished runs as one self-contained HTML page: scores, curves, classes, and the rows with the highest loss."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from recipes.config import saved_config
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.metrics import LOWER_IS_BETTER, Predictions, f1, intervals, label_matrices
from recipes.reports.health import describe_health
from recipes.reports.html import render_all, render_figure, render_page, render_table
from recipes.reports.monitor import Monitor
from recipes.reports.plots import draw_confusion, draw_learning_curve, draw_reliability, draw_scores
from recipes.runs.folder import RunFolder

MAX_EXAMPLES = 20
"""Rows of each table of examples."""
MAX_CHARACTERS = 400
"""Characters that are shown of a text."""
SURE = 0.9
"""Probability from which on a wrong prediction makes its label suspicious."""


def page(runs: Sequence[RunFolder]) -> str:
    """The HTML of some runs, in this order."""
    runs_by_name = dict(zip(_names(runs), runs, strict=True))
    title = next(iter(runs_by_name)) if len(runs_by_name) == 1 else f"{len(runs_by_name)} runs"
    body: list[str] = [Markup("<h1>{}</h1>").format(title)]
    if len(runs_by_name) > 1:
        body += _comparison(runs_by_name)
    for name, run in runs_by_name.items():
        body += _section(name, run)
    return render_page(title, body)


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """The folders' names, with as many parent folders as it takes to make them different."""
    paths = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-depth:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


def _comparison(runs: Mapping[str, RunFolder]) -> Iterator[Markup]:
    yield Markup("<h2>Side by side</h2>")
    splits = {name: _main_split(run) for name, run in runs.items()}
    all_metrics = {name: run.metrics for name, run in runs.items()}
    scores = {name: all_metrics[name][splits[name]] for name in runs}
    metric_names = list(dict.fromkeys(metric for values in scores.values() for metric in values))
    best = {metric: _best(metric, [values.get(metric) for values in scores.values()]) for metric in metric_names}
    rows = []
    for name, values in scores.items():
        first = Markup('<a href="#{0}">{0}</a> ({1})').format(name, splits[name])
        cells = [_score(values.get(metric), values.get(metric) == best[metric]) for metric in metric_names]
        cost = all_metrics[name]["cost"]
        health = (all_metrics[name].get("health") or {}).get("headline", "")
        costs = [_number(cost[item], ",.0f") for item in ("train_seconds", "peak_memory_mb")]
        rows.append([first, health, *cells, *costs])
    yield render_table(["run", "health", *metric_names, "seconds", "MB"], rows)

    # Curves of one metric share a figure; runs that were evaluated by another metric get their own.
    histories = {name: run.history for name, run in runs.items() if run.history}
    metric_of = {name: runs[name].config["evaluate"]["metric"] for name in histories}
    for metric in sorted(set(metric_of.values())):
        curves = {name: history for name, history in histories.items() if metric_of[name] == metric}
        yield render_figure(lambda to: draw_scores(curves, metric, to))  # noqa: B023  (drawn at once)


def _best(metric: str, values: Sequence[Any]) -> Any:
    numbers = [value for value in values if isinstance(value, int | float)]
    if not numbers:
        return None
    return min(numbers) if metric in LOWER_IS_BETTER else max(numbers)


def _section(name: str, run: RunFolder) -> Iterator[Markup]:
    split, metrics, history = _main_split(run), run.metrics, run.history
    predictions = {each: run.load_predictions(each) for each in run.splits}
    main = predictions[split]
    yield Markup('<h2 id="{0}">{0}</h2>').format(name)
    cost = metrics["cost"]
    yield Markup("<p>{}; {} weights; {} s, {} MB, {} passes an update.</p>").format(
        ", ".join(map(str, metrics["tricks"])) or "no tricks",
        metrics["weights"],
        _number(cost["train_seconds"], ",.0f"),
        _number(cost["peak_memory_mb"], ",.0f"),
        _number(cost["passes_per_update"], "g"),
    )
    if lines := list(describe_health(metrics)):
        yield Markup("<h3>Health</h3><ul>{}</ul>").format(render_all("<li>{}</li>", lines))
        yield render_table(["on validation", *metrics["validation"]], list(_baseline_rows(metrics)))
    yield Markup("<h3>Scores</h3>")
    yield render_table(["", "", "95 % interval over rows"], list(_score_rows(predictions, metrics)))

    monitor = Monitor(len(main.classes), main.multi_label, run.config["tricks"])
    if warnings := [sentence for line in history for sentence in monitor.read_line(line)]:
        items = render_all("<li>{}</li>", warnings)
        yield Markup("<h3>Warnings during training</h3><ul>{}</ul>").format(items)
    if history:
        yield render_figure(lambda to: draw_learning_curve(history, run.config["evaluate"]["metric"], to))
    if not metrics[split]:
        yield Markup('<p class="note">No row of {} has a label.</p>').format(split)
        return
    yield render_figure(lambda to: draw_reliability(main, to))
    yield render_figure(lambda to: draw_confusion(main, to))
    yield Markup("<h3>Scores by class, {}</h3>").format(split)
    yield render_table(["class", "rows", "precision", "recall", "F1"], list(_class_rows(main)))
    yield from _examples(run, split, main)


def _main_split(run: RunFolder) -> str:
    """The split that the page is about."""
    return "test" if run.metrics.get("test") else "validation"


def _score_rows(predictions: Mapping[str, Predictions], metrics: Mapping[str, Any]) -> Iterator[list[str]]:
    for split, of_split in predictions.items():
        bounds = intervals(of_split)
        for metric, value in metrics[split].items():
            yield [f"{split} {metric}", _score(value), _interval(bounds.get(metric))]


def _baseline_rows(metrics: Mapping[str, Any]) -> Iterator[list[str]]:
    """The validation scores of this run, and of its baselines."""
    baselines = metrics["health"]["baselines"] if metrics.get("health") else {}
    scored = {"this run": metrics["validation"], "linear baseline": baselines.get("linear")}
    for name, scores in {**scored, "majority class": baselines.get("majority")}.items():
        if scores:
            yield [name, *(_score(scores.get(metric)) for metric in metrics["validation"])]


def _class_rows(predictions: Predictions) -> Iterator[list[str]]:
    labels, predicted, _ = label_matrices(predictions)
    label_counts, predicted_counts, hits = labels.sum(0), predicted.sum(0), (labels * predicted).sum(0)
    precision = hits / np.maximum(1, predicted_counts)
    recall = hits / np.maximum(1, label_counts)
    scores = (precision, recall, f1(hits, label_counts + predicted_counts))
    for index, name in enumerate(predictions.classes):
        yield [name, f"{label_counts[index]:,}", *(f"{each[index]:.3f}" for each in scores)]


def _examples(run: RunFolder, split: str, predictions: Predictions) -> Iterator[Markup]:
    """The errors with the highest loss: first those whose label may be wrong, as the model is sure of another one."""
    if predictions.multi_label:
        return
    losses, names, probabilities = _losses(predictions), predictions.names(), predictions.probabilities
    by_loss = [row for row in np.argsort(-losses, kind="stable") if losses[row] > 0]
    errors = [row for row in by_loss if names[row] != predictions.labels[row]]
    suspicious = [row for row in errors if probabilities[row].max() >= SURE][:MAX_EXAMPLES]
    hardest = [row for row in errors if row not in suspicious][:MAX_EXAMPLES]
    texts = _texts(run, split, predictions)
    if isinstance(texts, str) and errors:
        yield Markup('<p class="note">{}</p>').format(texts)
    for title, rows in (
        (
            f"Most suspicious: the model is at least {SURE:.0%} sure of another label. Check the label",
            suspicious,
        ),
        ("Hardest of the other errors: the highest loss", hardest),
    ):
        yield Markup("<h3>{}</h3>").format(title)
        lines = []
        for row in rows:
            cells = [str(cell) for cell in (predictions.ids[row], predictions.labels[row], names[row])]
            text = "" if isinstance(texts, str) else _text(texts[row])
            lines.append([*cells, f"{probabilities[row].max():.3f}", f"{losses[row]:.2f}", text])
        header = ["id", "label", "prediction", "probability", "loss", "text"]
        yield render_table(header, lines) if lines else Markup("<p>None.</p>")


def _losses(predictions: Predictions) -> np.ndarray:
    """The loss of each row, (row); -1 where its label is missing or not one of the classes."""
    index = {name: column for column, name in enumerate(predictions.classes)}
    losses = [
        -np.log(max(float(probabilities[index[label]]), 1e-12)) if label in index else -1.0
        for label, probabilities in zip(predictions.labels, predictions.probabilities, strict=True)
    ]
    return np.array(losses)


def _texts(run: RunFolder, split: str, predictions: Predictions) -> Sequence[str] | str:
    """The texts of a split, or why they cannot be shown."""
    try:
        splits = read_splits(saved_config(run.config).data, run.config["evaluate"]["extra"], split == "test")
    except UserError as error:
        return f"The texts cannot be read again: {' '.join(error.problems)}"
    rows = splits.test if split == "test" else splits.validation
    if rows is None or list(rows["id"]) != list(predictions.ids):
        return "The texts cannot be shown: the data has changed since."
    pairs = rows["text_pair"]
    return [text if pair is None else f"{text} ⟂ {pair}" for text, pair in zip(rows["text"], pairs, strict=True)]


def _text(text: str) -> Markup:
    shown = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
    return Markup("<span>{}</span>").format(shown)


def _score(value: Any, best: bool = False) -> str:
    cell = f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
    return Markup("<b>{}</b>").format(cell) if best else cell


def _number(value: Any, style: str) -> str:
    """Format a number of `metrics.json`; anything else, which somebody has written there, is shown as it is."""
    return format(value, style) if isinstance(value, int | float) else str(value)


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else "{:.4f} to {:.4f}".format(*bounds)
