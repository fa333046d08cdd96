"""The end of a grid or a search: its runs by their validation score, and which of them chance alone may have ordered.

Runs that differ in nothing but the seed or the fold are one candidate, whose score is their mean. Each other candidate
is compared with the first one. Where candidates have single runs, the 95 % interval is that of the paired differences
over rows, and covers no other seed. Else it covers rows, and runs by their spread, pooled over all candidates.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

# Late imports in this module: every start of a run imports it.

REPEATS = ("seed", "data.fold")
"""Settings whose values make runs of one candidate; so do those of `seeds`."""
MOST_SHOWN = 10


@dataclass(frozen=True)
class Line:
    """A run of a sweep, finished or failed."""

    folder: Path
    overrides: Sequence[str]
    trusted: Sequence[str] = ()
    """The classes and functions that its command line trusts."""


@dataclass(frozen=True)
class Candidate:
    """Runs that differ in the seed or the fold alone."""

    name: str
    """The settings in which it differs from others."""
    folders: Sequence[Path]
    scores: Sequence[float]

    @property
    def mean(self) -> float:
        """The score that it is ranked by."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True)
class Difference:
    """How much worse a candidate is than the first, with the 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether chance alone does not explain it."""
        return self.low > 0


class SweepLog:
    """A file with a line for each run of a sweep, which the workers of any launcher add to.

    It is in the cache, so that the folder of runs has nothing but runs.
    """

    def __init__(self) -> None:
        from recipes.data.cache import cache_folder

        self.path = cache_folder() / "sweeps" / f"{uuid4().hex}.jsonl"

    def add(self, folder: Path, overrides: Sequence[str], trusted: Sequence[str] = ()) -> None:
        """Add a run that has ended."""
        with suppress(OSError):  # a sweep without its ranking is still a sweep
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as lines:
                values = {"folder": str(folder.absolute()), "overrides": [*overrides], "trusted": [*trusted]}
                lines.write(json.dumps(values) + "\n")

    def read(self) -> list[Line]:
        """Read the runs, and remove the file."""
        if not self.path.is_file():
            return []
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        self.path.unlink()
        return [Line(**{**line, "folder": Path(line["folder"])}) for line in lines]


@contextmanager
def ranked_at_end() -> Iterator[SweepLog]:
    """At the end of this context the ranking of the runs in the log is printed, also after a run has failed."""
    log = SweepLog()
    try:
        yield log
    finally:
        if lines := log.read():
            sys.stdout.flush()
            print_ranking(lines)


def print_ranking(lines: Sequence[Line]) -> None:
    """Print the ranking of a sweep, one for each data set."""
    from recipes.reports.tables import console_for_tables

    console = console_for_tables()
    for part in describe_ranking(lines):
        if isinstance(part, str):
            console.print(part, markup=False, soft_wrap=True)
        else:
            console.print(part)


def describe_ranking(lines: Sequence[Line]) -> Iterator[Any]:
    """Describe the ranking of a sweep: tables for a terminal, and sentences."""
    from recipes.compose.metrics import scoring_by
    from recipes.compose.trust import trusting
    from recipes.runs.folder import RunFolder, is_finished

    # A search may come back to a run that it has made before.
    lines = list({line.folder: line for line in lines}.values())
    finished = [line for line in lines if is_finished(line.folder)]
    folders = {line.folder: RunFolder(line.folder) for line in finished}
    if lost := len(lines) - len(finished):
        yield f"{lost} of {len(lines)} runs failed, and have no score."
    metrics = {run.config["evaluate"]["metric"] for run in folders.values()}
    if len(metrics) != 1:
        if metrics:
            yield f"No ranking: the runs are scored by {', '.join(sorted(metrics))}."
        return
    (metric,) = metrics
    evaluate = next(iter(folders.values())).config["evaluate"]
    varying = _find_varying([line.overrides for line in lines])
    with trusting(name for line in lines for name in line.trusted), scoring_by(evaluate, of_folder=True):
        by_data: dict[str, list[Line]] = {}
        for line in finished:
            if metric in folders[line.folder].metrics["validation"]:
                of_data = [each for each in _select(line.overrides, varying) if _key(each).partition(".")[0] == "data"]
                by_data.setdefault(" ".join(each for each in of_data if not _is_repeat(each)), []).append(line)
        for name, of_name in by_data.items():
            yield from _rank(name, of_name, folders, metric, varying)


def _rank(
    data: str, lines: Sequence[Line], runs: Mapping[Path, Any], metric: str, varying: Sequence[str]
) -> Iterator[Any]:
    from recipes.metrics import is_lower_better

    groups: dict[str, list[Path]] = {}
    for line in lines:
        settings = [each for each in _select(line.overrides, varying) if not _is_repeat(each)]
        groups.setdefault(" ".join(settings) or "all", []).append(line.folder)
    candidates = [
        Candidate(name, paths, [runs[path].metrics["validation"][metric] for path in paths])
        for name, paths in groups.items()
    ]
    sign = -1 if is_lower_better(metric) else 1
    candidates.sort(key=lambda each: -sign * each.mean)
    first, shown = candidates[0], candidates[:MOST_SHOWN]
    deviation = pool_deviation(candidates)
    rows = [_score_rows(each, runs, metric) for each in shown]
    differences = [_compare(rows[0], each, deviation) for each in rows[1:]]
    where = f" on {data}" if data else ""
    lower = ", lower is better" if sign < 0 else ""
    yield _draw(f"ranking by validation {metric}{where}{lower}", shown, differences, deviation is not None)
    if hidden := len(candidates) - len(shown):
        yield f"{hidden:,} more are behind."
    yield from _describe_noise(len(candidates), differences, deviation, len(lines), metric)
    yield f"first: {first.folders[0]}"


def _describe_noise(
    count: int,
    differences: Sequence[Difference | None],
    deviation: "Deviation | None",
    runs: int,
    metric: str,
) -> Iterator[str]:
    """Describe what chance does to the ranking, in sentences."""
    if not differences:
        return
    known = [each for each in differences if each is not None]
    if not known:
        yield f"Nothing shows whether chance alone made this order: {metric} has no interval over these rows."
    elif not known[0].is_clear:
        alike = sum(not each.is_clear for each in known)
        others = "the second" if alike == 1 else f"{alike} of the others"
        yield (f"The first is not shown to be better than {others}: the 95 % interval of the difference includes 0.")
    else:
        yield "The first is ahead of the second by more than chance explains (95 % interval)."
    if deviation is None:
        yield "The intervals are over validation rows. Another seed may change the order: sweep seed=0,1,2 too."
    else:
        yield (
            f"Another seed or fold moves {metric} by {deviation.value:.4f} (standard deviation, {runs} runs). The "
            "intervals cover it."
        )
    yield f"As the best of {count} on these rows, the first is too good by chance; only the test split tells its score."


@dataclass(frozen=True)
class Deviation:
    """The standard deviation of a score over the runs of one candidate, pooled over candidates."""

    value: float
    degrees_of_freedom: int


def pool_deviation(candidates: Sequence[Candidate]) -> Deviation | None:
    """Pool the deviations of candidates with two runs or more; None if there are none."""
    degrees_of_freedom = sum(len(each.scores) - 1 for each in candidates)
    if not degrees_of_freedom:
        return None
    squares = sum((score - each.mean) ** 2 for each in candidates for score in each.scores)
    return Deviation(math.sqrt(squares / degrees_of_freedom), degrees_of_freedom)


@dataclass(frozen=True)
class ScoredRows:
    """The validation rows of a candidate, in each of its runs."""

    scores: Sequence[Any]
    """Of each run, what every row contributes to the metric, (row)."""
    identities: Set[tuple[tuple[str, ...], str]]
    """Ids and labels of the rows; one element if all runs have the same rows."""


def _score_rows(candidate: Candidate, runs: Mapping[Path, Any], metric: str) -> ScoredRows | None:
    """Score the rows of a candidate's runs; None if these rows do not define the metric's interval."""
    from recipes.errors import UserError
    from recipes.prediction.pseudo_values import score_rows

    predictions = [runs[path].load_predictions("validation") for path in candidate.folders]
    try:
        scores = [score_rows(each, metric) for each in predictions]
    except UserError:
        return None
    return ScoredRows(scores, {(tuple(each.ids), repr(each.labels)) for each in predictions})


def _compare(first: ScoredRows | None, other: ScoredRows | None, deviation: Deviation | None) -> Difference | None:
    """Compare a candidate with the first; None if nothing defines an interval."""
    import numpy as np
    from scipy.stats import t

    if first is None or other is None:
        return None
    if len(first.identities | other.identities) == 1:
        gains = np.mean(first.scores, axis=0) - np.mean(other.scores, axis=0)
        value, variance, degrees_of_freedom = gains.mean(), gains.var(ddof=1) / len(gains), len(gains) - 1
    else:  # each fold has rows of its own, whose chance is in the spread of the runs
        value, variance, degrees_of_freedom = _mean(first.scores) - _mean(other.scores), 0.0, 0
    if deviation is not None:
        variance += deviation.value**2 * (1 / len(first.scores) + 1 / len(other.scores))
        degrees_of_freedom = deviation.degrees_of_freedom
    elif not degrees_of_freedom:
        return None
    half = t.ppf(0.975, degrees_of_freedom) * math.sqrt(variance)
    return Difference(float(value), float(value - half), float(value + half))


def _mean(rows: Sequence[Any]) -> float:
    return sum(float(each.mean()) for each in rows) / len(rows)


def _draw(title: str, shown: Sequence[Candidate], differences: Sequence[Difference | None], has_repeats: bool) -> Any:
    """The table for a terminal; settings that do not fit are folded."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("", justify="right")
    table.add_column("score", justify="right", no_wrap=True)
    if has_repeats:
        table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("worse than the first by", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for number, (candidate, difference) in enumerate(zip(shown, [None, *differences], strict=True), 1):
        runs = [str(len(candidate.scores))] if has_repeats else []
        behind = f"{difference.value:.4f} ({difference.low:.4f} to {difference.high:.4f})" if difference else ""
        table.add_row(str(number), f"{candidate.mean:.4f}", *runs, behind, escape(candidate.name))
    return table


def _find_varying(overrides: Sequence[Sequence[str]]) -> list[str]:
    """The settings that do not have the same value in all runs."""
    values = [{_key(each): each for each in line} for line in overrides]
    keys = dict.fromkeys(key for line in values for key in line)
    return [key for key in keys if len({line.get(key) for line in values}) > 1]


def _select(overrides: Sequence[str], keys: Sequence[str]) -> list[str]:
    return [_shorten(each) for each in overrides if _key(each) in keys]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _is_repeat(override: str) -> bool:
    return _key(override) in REPEATS or _key(override).startswith("seeds.")


def _shorten(override: str) -> str:
    """An override with four digits of a number that a search has drawn."""
    name, _, value = override.partition("=")
    with suppress(ValueError):
        if len(value) > len(shortened := f"{float(value):.4g}"):
            return f"{name}={shortened}"
    return override
