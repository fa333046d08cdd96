"""Runs that other programs made, read from a file: a line for each run with its score, or for each row of each run."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipes.data.formats import format_of
from recipes.data.records import Record, records
from recipes.errors import UserError, list_names
from recipes.metrics import FURTHER_SINGLE, OVER_CLASSES, Predictions, further_metrics, has_collapsed
from recipes.prediction.pseudo_values import score_rows
from recipes.runs.predictions import PREFIX

# The columns; those of `OPTIONAL` may be missing.
ARM, SEED, SCORE, LABEL, PREDICTION = "arm", "seed", "score", "label", "prediction"
DATA, STATUS, MAJORITY, ROW = "data", "status", "majority", "row"
METRICS = ("accuracy", *OVER_CLASSES, *FURTHER_SINGLE, "kappa", "mcc")
"""What predictions without probabilities can be scored by."""
FINISHED = ("finished", "completed", "complete", "success")
UNFINISHED = ("failed", "crashed", "killed", "running", "preempted", "missing", "error")
NO_SCORE = ("", "none", "null", "n/a", "-")
"""Cells that mean that there is no score; Python reads nan and inf as numbers."""


@dataclass(frozen=True)
class LoggedRun:
    """One run of a log."""

    levels: tuple[str, ...]
    """Its level of each factor; of a log without factors, the name of its arm."""
    seed: str
    data: str
    score: float | None
    """None if the run failed, or if its score is not finite."""
    majority: float | None = None
    """The score of the majority class, if it is known."""
    rows: np.ndarray | None = None
    """What each validation row contributes to the score, if the log has predictions."""
    fingerprint: str | None = None
    """A hash of the predictions."""
    predicts_one_class: bool = False
    predictions: Predictions | None = None
    """The predictions, if the log has probabilities."""

    @property
    def key(self) -> tuple[str, tuple[str, ...], str]:
        """What no two runs have in common: data, levels and seed."""
        return self.data, self.levels, self.seed


def read_log(
    name: str, factors: Sequence[str] = (), metric: str | None = None, majority: float | None = None
) -> list[LoggedRun]:
    """Read the runs of a file.

    Args:
        name: of the file: CSV, TSV, JSONL or Parquet, or `-` for JSONL on standard input.
        factors: the columns that vary; none if the column `arm` names what a run is.
        metric: what predictions are scored by; one of `METRICS`, the first by default. A score has any name.
        majority: the score of the majority class, where the file has no column for it.

    Raises:
        UserError: the file cannot be read, lacks columns, or names a run twice.
    """
    log = records(name, format_of(name))
    lines = list(log)
    if not lines:
        raise UserError(f"{name}: there are no runs in it.")
    if bad := next((line for line in lines if line.problem), None):
        raise UserError(f"{name}: {bad.position}: {bad.problem}.")
    columns = log.names(lines)
    has_predictions = PREDICTION in columns and SCORE not in columns
    needed = [*(factors or [ARM]), SEED, *([LABEL, PREDICTION, ROW] if has_predictions else [SCORE])]
    if missing := [column for column in needed if column not in columns]:
        hint = " --factor names a column that varies, in place of arm." if ARM in missing else ""
        hint += " Predictions need the columns row, label and prediction." if SCORE in missing else ""
        raise UserError(
            f"{name}: no column {list_names(missing)}; the file has {list_names(columns, quoted=False)}. Rename the "
            f"columns in the header.{hint}{log.advise(lines)}"
        )
    cells = _Cells(name, columns)
    if has_predictions:
        ranking = ["roc_auc"] if any(column.startswith(PREFIX) for column in columns) else []
        if metric not in (None, *METRICS, *ranking, *further_metrics()):
            known = list_names([*METRICS, *ranking], quoted=False)
            raise UserError(f"--metric={metric}: predictions are scored by one of {known}, or by a function.")
        return list(_read_predictions(cells, lines, factors or [ARM], metric or METRICS[0]))
    return list(_read_scores(cells, lines, factors, majority))


@dataclass(frozen=True)
class _Cells:
    """Reads the cells of one file."""

    name: str
    columns: Sequence[str]

    @property
    def classes(self) -> list[str]:
        """The classes that have a column of probabilities."""
        return [column.removeprefix(PREFIX) for column in self.columns if column.startswith(PREFIX)]

    def text(self, line: Record, column: str, is_needed: bool = True) -> str:
        value: Any = line.values.get(column)
        text = value.strip() if isinstance(value, str) else ""
        if is_needed and not text:
            raise self.problem(line, f"the cell of {column!r} is empty or no text")
        return text

    def number(self, line: Record, column: str) -> float | None:
        """A finite number, or None."""
        text = self.text(line, column, is_needed=False)
        if text.lower() in NO_SCORE:
            return None
        try:
            number = float(text)
        except ValueError:
            raise self.problem(line, f"{column}={text!r} is not a number such as 0.87") from None
        return number if math.isfinite(number) else None

    def probability(self, line: Record, column: str) -> float:
        """A number between 0 and 1."""
        number = self.number(line, column)
        if number is None or not 0 <= number <= 1:
            raise self.problem(
                line, f"{column}={self.text(line, column, False)!r} is not a probability between 0 and 1"
            )
        return number

    def problem(self, line: Record, text: str) -> UserError:
        return UserError(f"{self.name}: {line.position}: {text}.")


def _read_scores(
    cells: _Cells, lines: Iterable[Record], factors: Sequence[str], majority: float | None
) -> Iterator[LoggedRun]:
    seen: dict[tuple[str, tuple[str, ...], str], Record] = {}
    for line in lines:
        score = cells.number(line, SCORE)
        if STATUS in cells.columns and not _has_finished(cells, line):
            score = None
        of_line = cells.number(line, MAJORITY) if MAJORITY in cells.columns else None
        run = LoggedRun(*_identify(cells, line, factors or [ARM]), score, majority if of_line is None else of_line)
        if first := seen.get(run.key):
            raise cells.problem(
                line,
                f"{_describe(run)} stands at {first.position} already; a seed names one run of an arm, so leave out "
                "one of them or correct its seed or data",
            )
        seen[run.key] = line
        yield run


def _identify(cells: _Cells, line: Record, factors: Sequence[str]) -> tuple[tuple[str, ...], str, str]:
    """The levels, seed and data set of a line. A factor's empty cell is a level: the factor is off."""
    levels = tuple(cells.text(line, factor, is_needed=factor == ARM) for factor in factors)
    data = cells.text(line, DATA) if DATA in cells.columns else DATA
    return levels, cells.text(line, SEED), data


def _describe(run: LoggedRun) -> str:
    return f"the run {' '.join(filter(None, run.levels)) or 'without factors'}, seed {run.seed}, data {run.data},"


def _has_finished(cells: _Cells, line: Record) -> bool:
    status = cells.text(line, STATUS)
    if status.lower() not in (*FINISHED, *UNFINISHED):
        known = f"{list_names(FINISHED, quoted=False)}, or {list_names(UNFINISHED, quoted=False)}"
        raise cells.problem(line, f"status={status!r} is not known; write {known}")
    return status.lower() in FINISHED


@dataclass(frozen=True)
class _Answer:
    """A row of a run."""

    label: str
    prediction: str
    probabilities: tuple[float, ...]
    """Of each class; empty if the log has none."""


def _read_predictions(
    cells: _Cells, lines: Iterable[Record], factors: Sequence[str], metric: str
) -> Iterator[LoggedRun]:
    by_run: dict[tuple[tuple[str, ...], str, str], dict[str, _Answer]] = {}
    for line in lines:
        rows = by_run.setdefault(_identify(cells, line, factors), {})
        row = cells.text(line, ROW)
        if row in rows:
            raise cells.problem(line, f"row {row!r} of this run stands further up already")
        rows[row] = _read_answer(cells, line)
    labels: dict[str, dict[str, str]] = {}
    for (levels, seed, data), rows in by_run.items():
        labels_of_run = {row: answer.label for row, answer in rows.items()}
        expected = labels.setdefault(data, labels_of_run)
        run = LoggedRun(levels, seed, data, None)
        if labels_of_run != expected:
            raise UserError(
                f"{cells.name}: {_describe(run)} has other rows or labels than the first run on this data; runs are "
                "compared row by row, so write the same rows for each."
            )
    names = {
        data: sorted(
            {
                name
                for run, rows in by_run.items()
                if run[2] == data
                for each in rows.values()
                for name in (each.label, each.prediction)
            }
        )
        for data in labels
    }
    for (levels, seed, data), rows in by_run.items():
        answers = [rows[row] for row in labels[data]]
        predictions = _collect(labels[data], answers, cells.classes or names[data])
        scores = score_rows(predictions, metric)
        contents = predictions.probabilities.tobytes() + predictions.decisions.tobytes()
        yield LoggedRun(
            levels,
            seed,
            data,
            score=float(scores.mean()),
            rows=scores,
            fingerprint=hashlib.sha256(contents).hexdigest(),
            predicts_one_class=has_collapsed(predictions),
            predictions=predictions if cells.classes else None,
        )


def _read_answer(cells: _Cells, line: Record) -> _Answer:
    label, prediction = cells.text(line, LABEL), cells.text(line, PREDICTION)
    if cells.classes and prediction not in cells.classes:
        raise cells.problem(
            line, f"prediction={prediction!r} has no column {PREFIX + prediction!r}; write a column for each class"
        )
    return _Answer(label, prediction, tuple(cells.probability(line, PREFIX + name) for name in cells.classes))


def _collect(labels: dict[str, str], answers: Sequence[_Answer], classes: Sequence[str]) -> Predictions:
    """Collect the predictions of a run. Without probabilities, a decision has the probability 1."""
    decided = np.array([answer.prediction for answer in answers])
    decisions = (decided[:, None] == np.array(classes)).astype(np.float32)
    has_probabilities = bool(answers[0].probabilities)
    probabilities = np.array([answer.probabilities for answer in answers], np.float32)
    return Predictions(
        list(labels),
        list(labels.values()),
        probabilities if has_probabilities else decisions,
        decisions,
        classes,
        False,
    )
