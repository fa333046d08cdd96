"""The parts of a page that compares finished runs: paired differences where they share rows, scores side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from recipes.compose.metrics import scoring_by
from recipes.prediction.comparison import Improvement, compare, has_same_rows
from recipes.reports.charts import Estimate, Intervals, Plot, fit_axis
from recipes.reports.document import Answer, Cell, Charts, Heading, Items, Part, Table
from recipes.reports.formats import format_score
from recipes.reports.health import is_worse
from recipes.reports.run_parts import (
    describe_cost,
    mark_metric,
    metric_of,
    run_parts,
    score_series,
    scores_of,
)
from recipes.runs.folder import RunFolder, main_split

MAX_CURVES = 6
"""Runs of a plot: each has its own colour and shape."""
BETTER, WORSE, OPEN = "better", "worse", "no difference shown"
STYLES = {BETTER: 2, WORSE: 4, OPEN: 5}


@dataclass(frozen=True)
class Difference:
    """A run against the first one."""

    name: str
    improvement: Improvement | None
    """None if the two have no rows in common, or too few."""

    @property
    def word(self) -> str:
        """What is shown: `better`, `worse` or neither."""
        if self.improvement is None:
            return "not compared"
        return BETTER if self.improvement.low > 0 else WORSE if self.improvement.high < 0 else OPEN


def comparison_parts(runs: Sequence[RunFolder]) -> Iterator[Part]:
    """The parts of a page of runs: the comparison, and then each run by itself."""
    by_name = dict(zip(name_runs(runs), runs, strict=True))
    anchors = {name: f"run-{number}" for number, name in enumerate(by_name, 1)}
    with scoring_by(runs[0].config["evaluate"], of_folder=True):
        differences = list(_difference_parts(by_name))
    yield from differences
    yield Heading("Side by side")
    yield _side_by_side(by_name, anchors)
    if plots := list(_score_plots(by_name)):
        yield Charts(plots)
    for name, run in by_name.items():
        yield Heading(name, anchor=anchors[name])
        yield from run_parts(run, level=3)


def name_runs(runs: Sequence[RunFolder]) -> list[str]:
    """The folders' names, with as many parent folders as it takes to make them different."""
    paths = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-depth:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


def _difference_parts(runs: Mapping[str, RunFolder]) -> Iterator[Part]:
    """Each run against the first: in a sentence, and in a chart of paired differences."""
    (base, first), *others = runs.items()
    metric = metric_of(first)
    split = "test" if all(main_split(run.metrics) == "test" for run in runs.values()) else "validation"
    reference = first.load_predictions(split)
    differences = []
    for name, run in others:
        predictions = run.load_predictions(split)
        improvement = compare(predictions, reference, metric) if has_same_rows(predictions, reference) else None
        differences.append(Difference(name, improvement))
    names = {word: [each.name for each in differences if each.word == word] for word in (BETTER, WORSE)}
    shown = [f"{word.title()} than {base}: {', '.join(names[word])}" for word in (BETTER, WORSE) if names[word]]
    compared = [(each.name, each.word, each.improvement) for each in differences if each.improvement]
    nothing = f"No run {'is shown to differ from' if compared else 'can be compared with'} {base}"
    way = f"Compared by {metric} on {split}, row by row." if compared else "A comparison needs the same rows."
    yield Answer("note", ". ".join(shown) or nothing, f"{way} {base} was named first.")
    yield Items([_describe(each, base, metric) for each in differences])
    if compared:
        ends = [end for _, _, gain in compared for end in (gain.low, gain.high, 0.0)]
        yield Charts(
            [
                Intervals(
                    f"Difference to {base}",
                    fit_axis(f"{metric}, + is better", ends),
                    [
                        Estimate(name, gain.difference, (gain.low, gain.high), f"{gain.difference:+.4f}", STYLES[word])
                        for name, word, gain in compared
                    ],
                    "Lines are 95 % intervals over the rows that both runs predicted. Each holds by itself.",
                    styles=[(style, word) for word, style in STYLES.items()],
                )
            ]
        )
        yield (
            "Another seed moves a score too, and these intervals leave that out: a study measures both. Of 20 runs "
            "that do not differ, one looks clearly better or worse by chance."
        )


def _describe(difference: Difference, base: str, metric: str) -> str:
    gain = difference.improvement
    if gain is None:
        return f"{difference.name} is not compared with {base}: they have other rows, or too few."
    verdict = {BETTER: "is better than", WORSE: "is worse than", OPEN: "is not shown to differ from"}[difference.word]
    return (
        f"{difference.name} {verdict} {base}: {gain.difference:+.4f} {metric} (95 % paired interval "
        f"{gain.low:+.4f} to {gain.high:+.4f}; better is positive)."
    )


def _side_by_side(runs: Mapping[str, RunFolder], anchors: Mapping[str, str]) -> Table:
    scores = {name: scores_of(run.metrics, main_split(run.metrics)) for name, run in runs.items()}
    metrics = list(dict.fromkeys(metric for values in scores.values() for metric in values))
    names = [mark_metric(metric) for metric in metrics]
    return Table(
        ["run", "split", "health", *names, "seconds", "MB"],
        [
            [
                Cell(name, anchor=anchors[name]),
                main_split(run.metrics),
                _name_health(run),
                *(format_score(scores[name].get(metric)) for metric in metrics),
                *describe_cost(run)[:2],
            ]
            for name, run in runs.items()
        ],
        "Scores of each run. ↓: less is better.",
    )


def _name_health(run: RunFolder) -> str:
    if not run.health:
        return "unknown"
    return "worse" if is_worse(run.health) else str(run.health["headline"]).replace("_", " ")


def _score_plots(runs: Mapping[str, RunFolder]) -> Iterator[Plot]:
    """The validation scores of the runs over the updates; runs of one metric share a plot."""
    metrics = {name: metric_of(run) for name, run in runs.items() if run.history}
    for metric in dict.fromkeys(metrics.values()):
        names = [name for name in metrics if metrics[name] == metric]
        for first in range(0, len(names), MAX_CURVES):
            series = [
                score_series(name, runs[name].history, metric, style)
                for style, name in enumerate(names[first : first + MAX_CURVES])
            ]
            points = [point for each in series for point in each.points]
            if points:
                yield Plot(
                    f"Validation {metric}",
                    fit_axis("update", [], 0, max(update for update, _ in points)),
                    fit_axis(metric, [score for _, score in points]),
                    series,
                )
