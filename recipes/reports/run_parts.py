"""The parts of a run's page. The answer comes first: the score, its baselines, its health, what to do next."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from recipes.compose.metrics import scoring_by
from recipes.findings import SEVERITIES
from recipes.metrics import intervals, is_lower_better
from recipes.reports.charts import Estimate, Intervals, Plot, Series, fit_axis
from recipes.reports.class_parts import class_parts
from recipes.reports.document import Answer, Charts, Figures, Heading, Items, Part, Step, Steps, Table
from recipes.reports.error_parts import error_parts
from recipes.reports.formats import begin_upper, format_score
from recipes.reports.health import BASELINES, describe_early_stop, name_headline
from recipes.reports.monitor import Monitor
from recipes.reports.smoothing import smooth
from recipes.runs.folder import RunFolder, main_split
from recipes.runtime.program import name_command

READ_THEM = "read them under “Errors to read”"
TONES = {"diverged": "error", "collapsed": "error", "learned": "good", "best_at_end": "good"}
"""Of the headlines; the others are warnings."""
Bounds = Mapping[str, tuple[float, float]]
"""The intervals of a split's scores, by metric."""


def run_parts(run: RunFolder, level: int = 2) -> list[Part]:
    """The parts of a run's page.

    Args:
        run: a finished run.
        level: of its headings.
    """
    with scoring_by(run.config["evaluate"], of_folder=True):
        return list(_run_parts(run, level))


def _run_parts(run: RunFolder, level: int) -> Iterator[Part]:
    if not run.splits:
        yield from _unfinished_parts(run, level)
        return

    metrics, split = run.metrics, main_split(run.metrics)
    predictions = {each: run.load_predictions(each) for each in run.splits}
    main = predictions[split]
    bounds = {each: intervals(of_split) for each, of_split in predictions.items()}
    answer, health = _answer_parts(run, split, int(main.has_label.sum()), bounds), _describe_health(run)
    # Of a broken run the score is no answer.
    yield from [health, *answer] if health.tone == "error" else [*answer, health]
    yield Heading("What to do next", level)
    yield Steps(list(_next_steps(run)))
    yield Heading("Scores", level)
    yield _score_table(metrics, bounds)
    if reasons := {each: None for split in (metrics.get("unscored") or {}).values() for each in split.values()}:
        yield Items([_sentence(reason) for reason in reasons])
    yield from _candidate_tables(metrics)
    yield from _learning_parts(run, level)
    monitor = Monitor(len(main.classes), main.multi_label, run.config["tricks"])
    if warnings := [sentence for line in run.history for sentence in monitor.read_line(line)]:
        yield Heading("Warnings during training", level + 1)
        yield Items(list(map(_sentence, warnings)))
    if scores_of(metrics, split):
        yield from class_parts(main, split, level)
        yield from error_parts(run, predictions["validation"], level)
    else:
        yield f"No row of {split} has a label."
    yield Heading("How it was trained", level)
    yield Table(["setting", "value"], [*_settings(run), *_results(run)])


def _unfinished_parts(run: RunFolder, level: int) -> Iterator[Part]:
    """The parts of a run that diverged: it has a history, and neither a model nor scores."""
    yield _describe_health(run)
    yield Heading("What to do next", level)
    yield Steps(list(_next_steps(run)))
    yield from _learning_parts(run, level)
    yield Heading("How it was trained", level)
    yield Table(["setting", "value"], list(_settings(run)))


def scores_of(metrics: Mapping[str, Any], split: str) -> dict[str, float]:
    """The scores of a split, without what else `metrics.json` says of it."""
    return {name: value for name, value in (metrics.get(split) or {}).items() if isinstance(value, int | float)}


def metric_of(run: RunFolder) -> str:
    """The metric that the run was chosen by."""
    return str(run.config["evaluate"]["metric"])


def _answer_parts(run: RunFolder, split: str, rows: int, bounds: Mapping[str, Bounds]) -> Iterator[Part]:
    """The score of a run next to its baselines: numbers, a sentence and a chart."""
    metric, metrics = metric_of(run), run.metrics
    scores = scores_of(metrics, split)
    if metric not in scores:
        return
    score = f"{metric} on {rows:,} {split} rows"
    figures = [(score, f"{scores[metric]:.4f}", _between(bounds[split].get(metric)))]
    health = metrics.get("health") or {}
    against, baselines = health.get("against"), health.get("baselines") or {}
    if against:
        figures.append(
            (
                f"compared with {BASELINES[against['baseline']]}, on validation",
                f"{against['difference']:+.4f}",
                f"{against['low']:+.4f} to {against['high']:+.4f} (95 %, same rows); + is better",
            )
        )
    majority = (baselines.get("majority") or {}).get(against["metric"] if against else metric)
    if majority is not None:
        figures.append(("the majority class, on validation", f"{majority:.4f}", "what always the same answer scores"))
    yield Figures(figures)
    if against and (validation := scores_of(metrics, "validation").get(against["metric"])) is not None:
        yield Charts([_baseline_chart(run, against["metric"], validation, baselines, bounds)])


def _between(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else "{:.4f} to {:.4f} (95 %, over rows)".format(*bounds)


def _baseline_chart(
    run: RunFolder, metric: str, validation: float, baselines: Mapping[str, Any], bounds: Mapping[str, Bounds]
) -> Intervals:
    """The run on validation and on test, under its baselines."""
    rows = [
        Estimate(f"{label}, validation", scores[metric], text=f"{scores[metric]:.4f}", style=5)
        for name, label in (("majority", "majority class"), ("linear", "linear baseline"))
        if (scores := baselines.get(name)) and scores.get(metric) is not None
    ]
    interval = bounds["validation"].get(metric)
    rows.append(Estimate("this run, validation", validation, interval, f"{validation:.4f}"))
    if (score := scores_of(run.metrics, "test").get(metric)) is not None:
        rows.append(Estimate("this run, test", score, bounds["test"].get(metric), f"{score:.4f}"))
    ends = [end for row in rows for end in (row.value, *(row.interval or ()))]
    note = "less is better" if is_lower_better(metric) else "more is better"
    return Intervals(
        "This run and its baselines",
        fit_axis(f"{metric}; {note}", ends),
        rows,
        "Lines are 95 % intervals over rows; baselines are scored on validation only.",
    )


def _describe_health(run: RunFolder) -> Answer:
    """Whether the run learned, whether it is better than its baseline, and whether it stopped early."""
    health, stop = run.metrics.get("health"), run.metrics.get("early_stop")
    stopped = _sentence(describe_early_stop(stop)) if stop else ""
    if not health:
        text = f"This run is of an earlier version, which compared no baselines. {stopped}"
        return Answer("note", "Health: unknown", text.strip())
    headline, against = health["headline"], health.get("against")
    text = f"{_describe_against(against) if against else ''} {stopped}"
    return Answer(TONES.get(headline, "warning"), f"Health: {name_headline(health)}", text.strip())


def _describe_against(against: Mapping[str, Any]) -> str:
    name = BASELINES[against["baseline"]]
    verdict = (
        "It is better than"
        if against["low"] > 0
        else "It is worse than"
        if against["high"] < 0
        else "It is not shown to be better than"
    )
    return (
        f"{verdict} {name}: {against['difference']:+.4f} {against['metric']} on validation, 95 % interval "
        f"{against['low']:+.4f} to {against['high']:+.4f} (paired, better is positive)."
    )


def _sentence(text: str) -> str:
    """Begin with a capital letter, unless a setting, a metric or a command comes first."""
    is_word = re.match(r"(?!trickbook |python )[a-z]+[\s,:]", text)
    return begin_upper(text) if is_word else text


def _next_steps(run: RunFolder) -> Iterator[Step]:
    """What to do next: the remedies of the findings, then what any finished run is for."""
    health, folder = run.health or {}, shlex.quote(str(run.folder))
    reasons: dict[str, list[str]] = {}
    for finding in sorted(health.get("findings", ()), key=lambda each: SEVERITIES.index(each["severity"])):
        remedy = READ_THEM if finding["name"] == "confident_errors" else finding["remedy"]
        reason = f"{_sentence(finding['message'])} {_sentence(finding['consequence'])}."
        reasons.setdefault(_sentence(remedy), []).append(reason)
    yield from (Step(remedy, " ".join(each)) for remedy, each in reasons.items())
    if not health:
        yield Step("Examine it.", "This compares it with its baselines.", f"{name_command('doctor')} {folder}")
    if TONES.get(health.get("headline", "")) == "error":
        return
    if run.has_model:
        command = f"{name_command('predict')} {folder} texts.csv predictions.csv"
        yield Step("Predict a file with it.", command=command)
    yield Step(
        "Before you prefer these settings to others, train both with more seeds.",
        "Another seed moves a score too, and the intervals here are over rows alone. A study measures both.",
    )


def mark_metric(name: str) -> str:
    """The name of a metric, with an arrow if less is better."""
    return f"{name} ↓" if is_lower_better(name) else name


def _score_table(metrics: Mapping[str, Any], bounds: Mapping[str, Bounds]) -> Table:
    """Each metric on each split, with the intervals that there are."""
    scores = {split: scores_of(metrics, split) for split in bounds}
    names = list(dict.fromkeys(chain.from_iterable(scores.values())))
    return Table(
        ["metric", *chain.from_iterable((split, "95 % interval") for split in bounds)],
        [
            [
                mark_metric(name),
                *chain.from_iterable(
                    (format_score(scores[split].get(name)), _format_interval(bounds[split].get(name)))
                    for split in bounds
                ),
            ]
            for name in names
        ],
        "Scores by split. ↓: less is better. Intervals are over rows.",
    )


def _candidate_tables(metrics: Mapping[str, Any]) -> Iterator[Table]:
    """The weights that could have become the final ones, where there was a choice."""
    candidates = metrics.get("candidates") or {}
    if len(candidates) > 1:
        names = list(dict.fromkeys(chain.from_iterable(candidates.values())))
        rows = [
            [mark_metric(name), *(format_score(scores.get(name)) for scores in candidates.values())] for name in names
        ]
        caption = f"Weights to choose from, on validation. Chosen: {metrics['weights']}."
        yield Table(["metric", *candidates], rows, caption)


def _learning_parts(run: RunFolder, level: int) -> Iterator[Part]:
    if run.history:
        yield Heading("How it learned", level)
        yield Charts(list(_learning_plots(run.history, metric_of(run))))


def _learning_plots(history: Sequence[Mapping[str, Any]], metric: str) -> Iterator[Plot]:
    """The training loss, raw and smoothed, and the validation metric, over the updates."""
    updates = [line for line in history if "split" not in line and line["loss"] is not None]
    last = max((line["update"] for line in history), default=1)
    x = fit_axis("update", [], 0, last)
    if updates:
        numbers, losses = [line["update"] for line in updates], [line["loss"] for line in updates]
        raw, smoothed = list(zip(numbers, losses, strict=True)), list(zip(numbers, smooth(losses), strict=True))
        yield Plot(
            "Training loss",
            x,
            fit_axis("loss", losses, low=min(0.0, *losses)),
            [Series("each update", raw, 0, "faint"), Series("smoothed", smoothed, 0, "line")],
        )
    scores = score_series("validation", history, metric, 1)
    if len(scores.points) > 1:
        values = [value for _, value in scores.points]
        yield Plot(f"Validation {metric}", x, fit_axis(metric, values), [scores])


def score_series(name: str, history: Sequence[Mapping[str, Any]], metric: str, style: int) -> Series:
    """The validation metric of a run over the updates."""
    lines = [line for line in history if line.get("split") == "validation" and line.get(metric) is not None]
    return Series(name, [(line["update"], line[metric]) for line in lines], style)


def _settings(run: RunFolder) -> Iterator[list[str]]:
    """The settings of a run that people ask for first, each with its name."""
    config = run.config
    data, model, train = config["data"], config["model"], config["train"]
    yield ["model", str(model.get("name") or model.get("source"))]
    yield ["data", str(data.get("name") or data.get("source"))]
    yield from ([f"data.{each}", str(data[each])] for each in ("train", "validation", "test") if data.get(each))
    yield ["tricks", ", ".join(sorted(config["tricks"])) or "none"]
    for name, settings in config["tricks"].items():
        values = ", ".join(f"{key}={value}" for key, value in settings.items() if key != "_target_")
        yield [f"tricks.{name}", values or "no settings"]
    length = f"{train['max_updates']} updates" if train.get("max_updates") else f"{train.get('epochs')} epochs"
    yield ["length", length]
    yield from ([f"train.{each}", str(train[each])] for each in ("batch_size", "learning_rate") if each in train)
    yield ["seed", str(config.get("seed", "not recorded"))]


def _results(run: RunFolder) -> Iterator[list[str]]:
    """What a finished run used and cost."""
    metrics = run.metrics
    seconds, memory, passes = describe_cost(run)
    yield ["final weights", str(metrics["weights"])]
    yield ["seconds of training", seconds]
    yield ["peak memory in MB", memory]
    yield ["passes of an update", passes]
    versions = metrics.get("versions") or {}
    yield ["versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded"]


def describe_cost(run: RunFolder) -> list[str]:
    """The seconds, megabytes and passes of an update of a run."""
    cost = run.metrics["cost"]
    styles = {"train_seconds": ",.0f", "peak_memory_mb": ",.0f", "passes_per_update": "g"}
    return [_format_number(cost[name], style) for name, style in styles.items()]


def _format_number(value: Any, style: str) -> str:
    """Format a number of `metrics.json`; anything else, which somebody has written there, is shown as it is."""
    return format(value, style) if isinstance(value, int | float) else str(value)


def _format_interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else "{:.4f} to {:.4f}".format(*bounds)
