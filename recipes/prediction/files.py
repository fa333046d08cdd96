"""Predict a file of any size: read ahead, predict grouped by length, and write in the order of the input.

Finished chunks are stored as pieces in the folder `<output>.parts` until the output is complete, so the same command
started again goes on. The pieces are joined there too, and moving the results out of it is the last step. Memory is
bounded by the rows that are read ahead, whatever the size of the file; only the labels and probabilities for `metrics`
grow with the rows.
"""

import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.compose.metrics import scoring_by
from recipes.data.columns import find_problem, used_columns
from recipes.data.formats import SEPARATORS, STANDARD, format_of
from recipes.data.labels import is_unlabelled, read_label_columns, read_labels
from recipes.data.pieces import join_pieces, write_piece, write_rows
from recipes.data.records import Record, records
from recipes.errors import UserError, list_names, nearest
from recipes.metrics import Predictions, explain_missing, measure, measure_classes
from recipes.prediction.precision import choose_precision, in_precision
from recipes.prediction.predictors import AnyPredictor, load_predictor
from recipes.runs.files import atomic_write, checksum, lock_folder, read_json, remove_draft, write_json
from recipes.runs.folder import finished_run

MOST_ROWS_AHEAD = 10_000_000
# The files of `<output>.parts` that are no pieces: what is predicted, the joined output, and the joined bad rows.
REQUEST = "asked.json"
JOINED, JOINED_BAD = "joined", "joined.bad"


@dataclass(frozen=True)
class PredictionRequest:
    """What to predict, and how."""

    run: str
    """The run folder."""
    source: str
    """The input, or `-`."""
    target: str
    """The output, or `-`."""
    source_format: str | None = None
    """csv, tsv, jsonl or parquet; None: by the ending."""
    look_ahead: int = 4096
    """Rows that are read, grouped by length and predicted together."""
    precision: str = "auto"
    """One of `recipes.prediction.precision.PRECISIONS`."""
    metrics: bool = False
    """Whether to score the rows that have a label."""
    encoding: str | None = None
    """Of an input that is not UTF-8; None: as the run's `data.encoding`, and UTF-8 for a stream."""


# With the precision, what decides the results of a request: pieces of one that differs in a field are not used.
DECIDING_FIELDS = ("source", "source_format", "encoding", "run", "metrics")


@dataclass
class PredictionSummary:
    """The result of a job: numbers of rows, seconds, and scores."""

    rows: int = 0
    """Predicted rows."""
    bad: int = 0
    """Rows that could not be read."""
    seconds: float = 0.0
    metrics: dict[str, float] | None = None
    """The scores, if the request asks for them."""
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    """The scores of each class, likewise."""
    notes: list[str] = field(default_factory=list)
    """How the input and its labels are read, where a user may not expect it."""
    problems: list[str] = field(default_factory=list)
    """Why there are no scores, though the request asks for them."""

    @property
    def rows_read(self) -> int:
        """All rows, predicted and bad."""
        return self.rows + self.bad


class PredictionJob:
    """Predicts one file. Everything that is cheap is checked at once; `run` loads the model.

    Args:
        request: what to predict, and how.
        report_progress: called with the number of rows done so far, after each chunk.

    Raises:
        UserError: there is no such run or input, or the output exists.
    """

    def __init__(self, request: PredictionRequest, report_progress: Callable[[int], None] = lambda rows: None) -> None:
        paths = {name: os.path.expanduser(getattr(request, name)) for name in ("run", "source", "target")}
        request = replace(request, **paths)
        self.request, self.report_progress = request, report_progress
        self.finished_run = finished_run(request.run)
        if not 1 <= request.look_ahead <= MOST_ROWS_AHEAD:
            raise UserError(f"--look-ahead={request.look_ahead}: it must be from 1 to {MOST_ROWS_AHEAD:,} rows.")
        self.data = self.finished_run.config["data"]
        source_format = format_of(request.source, request.source_format)
        # Standard output has no ending that could name a format, so it gets that of the input.
        is_standard = request.target == STANDARD
        self.target_format = source_format if is_standard else format_of(request.target, None, gzipped=False)
        self.target, self.bad_rows = Path(request.target), Path(f"{request.target}.bad.jsonl")
        self.parts = self.target.with_name(f"{self.target.name}.parts")
        if not is_standard:
            self._refuse_existing_output()
        if is_standard and self.target_format == "parquet":
            raise UserError("-: Parquet cannot be written to standard output; name a file, or give --format.")
        encoding = request.encoding or (self.data["encoding"] if Path(request.source).is_file() else None)
        used = [name for _, name in self._used_columns()]
        self.records = records(request.source, source_format, used, self.data["header"], encoding)
        self.summary = PredictionSummary()
        # Cells with labels, probabilities and decisions of each chunk, for the scores.
        self.scored: list[tuple[Sequence[Any], np.ndarray, np.ndarray]] = []

    def run(self) -> PredictionSummary:
        """Predict all rows.

        Raises:
            UserError: the input has other columns than the training data, or no rows; another process predicts into the
                same output; the run folder is damaged; the output cannot be written; labels are not those of the run.
        """
        began = time.perf_counter()
        if self.request.target == STANDARD:
            self._predict_to_standard_output()
        else:
            self._predict_to_file()
        if self.request.precision == "fastest":
            self.summary.notes.append(f"--precision fastest: this machine predicts in {self.precision}.")
        self.summary.notes = [*self.records.notes, *self.summary.notes]
        self.summary.seconds = time.perf_counter() - began
        return self.summary

    @cached_property
    def predictor(self) -> AnyPredictor:
        """The predictor of the run; loading it takes seconds."""
        with in_precision(self.precision):
            return load_predictor(self.finished_run)

    @cached_property
    def precision(self) -> str:
        """The precision of the request, measured if it is the fastest; on a GPU auto stands for the fastest too."""
        requested, device = self.request.precision, "cuda" if torch.cuda.is_available() else "cpu"
        if requested != "fastest" and (requested, device) != ("auto", "cuda"):
            return requested
        with in_precision("fastest"):
            return choose_precision(device, "fp32")

    @cached_property
    def columns(self) -> list[str]:
        """The columns of the output."""
        return ["id", "prediction", *(f"p_{name}" for name in self.predictor.classes)]

    def _measure(self) -> dict[str, float] | None:
        """Score the rows that have a label, if the request asks for scores."""
        if not self.request.metrics:
            return None
        labels = self._read_labels([cell for cells, _, _ in self.scored for cell in cells])
        probabilities, decisions = (np.concatenate([chunk[part] for chunk in self.scored]) for part in (1, 2))
        ids = [str(row) for row in range(len(labels))]
        classes, multi_label = self.predictor.classes, self.predictor.multi_label
        predictions = Predictions(ids, labels, probabilities, decisions, classes, multi_label)
        with scoring_by(self.finished_run.config["evaluate"], of_folder=True):
            scores = measure(predictions)
            self.summary.notes += explain_missing(predictions, scores).values()
        self.summary.classes = measure_classes(predictions)
        return scores

    def _read_labels(self, cells: Sequence[Any]) -> Sequence[Any]:
        """Read the labels of all rows, by the rules of training."""
        columns, classes, multi_label = self.data["label"], self.predictor.classes, self.predictor.multi_label
        source = self.request.source
        try:
            if isinstance(columns, list):
                by_column = {name: [row[index] for row in cells] for index, name in enumerate(columns)}
                labels = read_label_columns(by_column, source)
            else:
                separator, multi_hot = self.data["label_separator"], self.finished_run.multi_hot
                labels = read_labels(cells, source, separator, multi_hot, classes)
            if labels.has_lists and not multi_label:
                raise UserError(f"{source} has lists of labels, but {self.request.run} has one label per row.")
        except UserError as error:
            raise UserError(*error.problems, "The predictions are written; only the scores are missing.") from error
        rows: Sequence[Any] = labels.rows
        if multi_label and not labels.has_lists:
            rows = [[name] if isinstance(name, str) else None for name in rows]
        counts = Counter(name for label in rows if label for name in (label if multi_label else [label]))
        self.summary.notes += labels.notes
        if is_unlabelled(counts, classes):
            return [None] * len(rows)
        unseen = Counter({name: count for name, count in counts.items() if name not in classes})
        if unseen:
            names = [f"{name!r} ({count})" for name, count in unseen.most_common()]
            self.summary.notes.append(
                f"{source}: labels that the run does not have count as errors in accuracy and are left out of loss, "
                f"brier and ece: {list_names(names, most=5, quoted=False)}."
            )
        return rows

    def _read_chunks(self) -> Iterator[list[Record]]:
        while chunk := list(islice(self.records, self.request.look_ahead)):
            if chunk[0].number == 0:
                self._check_columns(chunk)
            yield chunk
        if not self.summary.rows_read:
            raise UserError(f"{self.request.source}: there is no row in it.")

    def _used_columns(self) -> list[tuple[str, str]]:
        """The columns of the input that are needed, each with its setting before it."""
        needed = ("text", "text_pair", "id", *(("label",) if self.request.metrics else ()))
        return [(setting, name) for setting, name in used_columns(self.data) if setting in needed]

    def _check_columns(self, chunk: Sequence[Record]) -> None:
        """Raise if none of the first rows has a column that the run needs: then the file is wrong, not one row."""
        names = self.records.names(chunk)
        for setting, name in self._used_columns():
            if setting != "label" and names and name not in names:
                raise UserError(
                    f"{self.request.source} has no column {name!r}, which {self.request.run} was trained on "
                    f"(data.{setting}={name}); {nearest(name, names)}{self.records.advise(chunk)}"
                )

    # Writing the predictions.

    def _predict_to_standard_output(self) -> None:
        for number, chunk in enumerate(self._read_chunks()):
            predictions, bad = self._predict_chunk(chunk)
            if not number and self.target_format != "jsonl":
                write_rows(sys.stdout, self.target_format, self.columns, [self.columns])
            write_rows(sys.stdout, self.target_format, self.columns, _output_rows(predictions))
            sys.stdout.flush()
            sys.stderr.writelines(bad)
            self.report_progress(self.summary.rows_read)

        self.summary.metrics = self._measure()

    def _predict_to_file(self) -> None:
        parts = self.parts
        # Without a request file the folder is not ours, and its files must not be deleted.
        if parts.exists() and not (parts / REQUEST).exists() and any(each.name != ".lock" for each in parts.iterdir()):
            raise UserError(f"{parts} holds other files, but the finished part of {self.target} goes there; move it.")
        if not self._joined_summary():
            _ = self.predictor  # a damaged run is refused before the folder is made
        with lock_folder(parts, f"{self.target}: another process is predicting into it; name another output."):
            if joined := self._joined_summary():
                self.summary = PredictionSummary(**joined)
            else:
                self._join(self._predict_pieces())
            # A file that is not there has been moved before this job was stopped.
            for name, path in ((JOINED_BAD, self.bad_rows), (JOINED, self.target)):
                if (parts / name).exists():
                    (parts / name).replace(path)
            # The request comes last: until then the same command finishes this.
            for path in [each for each in parts.iterdir() if each.name != REQUEST]:
                remove_draft(path)
            (parts / REQUEST).unlink()
        shutil.rmtree(parts)
        if self.summary.problems:
            raise UserError(*self.summary.problems)

    def _predict_pieces(self) -> list[Path]:
        """Predict all chunks that an interrupted job has left, and return the pieces of all chunks."""
        pieces = self._restore_pieces(self.parts)
        # Skip the rows that are done.
        for _ in islice(self.records, self.summary.rows_read):
            pass
        try:
            for number, chunk in enumerate(self._read_chunks(), len(pieces)):
                predictions, bad = self._predict_chunk(chunk)
                self._save_piece(self.parts / f"{number:08d}", predictions, bad)
                pieces.append(self.parts / f"{number:08d}")
                self.report_progress(self.summary.rows_read)
        except UserError:
            if not pieces:  # a mistake in the first chunk leaves nothing behind
                shutil.rmtree(self.parts)
            raise
        return pieces

    def _join(self, pieces: Sequence[Path]) -> None:
        """Join the pieces, and add the summary to the request: from then on only moving is left."""
        # Excel wrote such a table, and reads UTF-8 only behind a byte order mark.
        has_mark = self.target_format in SEPARATORS and not self.records.is_utf8
        with atomic_write(self.parts / JOINED) as draft:
            join_pieces(pieces, draft, self.target_format, self.columns, "utf-8-sig" if has_mark else "utf-8")
        if has_mark:
            name = self.target.name
            self.summary.notes.append(
                f"{name} begins with a byte order mark like the tables of Excel; Python reads it as utf-8-sig."
            )
        if self.summary.bad:
            with atomic_write(self.parts / JOINED_BAD) as draft:
                join_pieces([piece.with_suffix(".bad") for piece in pieces], draft, "jsonl", [])
        try:
            self.summary.metrics = self._measure()
        except UserError as error:  # the predictions are good, and are moved first
            self.summary.problems = list(error.problems)
        self._write_request(asdict(self.summary))

    def _identify_request(self) -> dict[str, Any]:
        """What decides the predictions: input, run and options."""
        files = [Path(self.request.source), self.finished_run.folder / "metrics.json"]
        state = [[file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()]
        fields = {name: getattr(self.request, name) for name in DECIDING_FIELDS}
        return {"state": state, **fields, "precision": self.precision}

    def _write_request(self, summary: Mapping[str, Any] | None) -> None:
        write_json(self.parts / REQUEST, {**self._identify_request(), "summary": summary})

    def _read_request(self) -> dict[str, Any] | None:
        """Read what an interrupted job of the same request has written; None if it is missing or of another one."""
        request = _read_json(self.parts / REQUEST)
        is_same = isinstance(request, dict) and {**request, "summary": None} == {
            **self._identify_request(),
            "summary": None,
        }
        return request if is_same and self.request.source != STANDARD else None

    def _joined_summary(self) -> dict[str, Any] | None:
        """The summary of an interrupted job of the same request that has joined its pieces."""
        return (self._read_request() or {}).get("summary")

    def _refuse_existing_output(self) -> None:
        """Raise if the output exists, unless an interrupted job of the same request has moved it there."""
        is_joined = self._joined_summary() is not None
        for name, path in ((JOINED, self.target), (JOINED_BAD, self.bad_rows)):
            if path.exists() and not (is_joined and not (self.parts / name).exists()):
                raise UserError(f"{path} exists; remove it, or name another output.")

    def _restore_pieces(self, parts: Path) -> list[Path]:
        """Find the pieces of an interrupted job of the same request, and delete all other files."""
        pieces: list[Path] = []
        if self._read_request():
            while piece := self._load_piece(parts / f"{len(pieces):08d}"):
                pieces.append(parts / f"{len(pieces):08d}")
                self._count(piece["rows"], piece["bad"])
        for path in parts.glob("[!.]*"):
            if path.with_suffix("") not in pieces:
                remove_draft(path)
        self._write_request(None)
        return pieces

    def _save_piece(self, piece: Path, predictions: Predictions, bad: Sequence[str]) -> None:
        """Write a piece; its `.json`, which lists the checksums of its files, comes last."""
        with atomic_write(piece) as draft:
            rows = list(_output_rows(predictions))
            write_piece(draft, self.target_format, self.columns, rows, self.predictor.multi_label)
        with atomic_write(piece.with_suffix(".bad")) as draft:
            draft.write_text("".join(bad), encoding="utf-8")
        if self.request.metrics:
            with atomic_write(piece.with_suffix(".npz")) as draft, draft.open("wb") as file:
                np.savez(file, probabilities=predictions.probabilities, decisions=predictions.decisions)
        checksums = {path.name: checksum(path) for path in _files_of(piece, self.request.metrics)}
        labels = list(predictions.labels) if self.request.metrics else []
        summary = {"rows": len(predictions.ids), "bad": len(bad), "labels": labels, "files": checksums}
        write_json(piece.with_suffix(".json"), summary)

    def _load_piece(self, piece: Path) -> dict[str, Any] | None:
        """Read the `.json` of a piece and its scores; None if the piece is missing or damaged."""
        summary = _read_json(piece.with_suffix(".json"))
        files = [path for path in _files_of(piece, self.request.metrics) if path.is_file()]
        if not isinstance(summary, dict) or summary.get("files") != {path.name: checksum(path) for path in files}:
            return None
        if self.request.metrics:
            with np.load(piece.with_suffix(".npz")) as arrays:
                self.scored.append((summary["labels"], arrays["probabilities"], arrays["decisions"]))
        return summary

    # Predicting the rows.

    def _predict_chunk(self, chunk: Sequence[Record]) -> tuple[Predictions, list[str]]:
        """Predict the rows that can be read, and make a JSON line for each of the others."""
        bad, good, used = [], [], self._used_columns()
        label, labels = self.data["label"], self.predictor.classes
        if isinstance(label, list):
            label, labels = label[0], ["0", "1"]
        for record in chunk:
            problem = find_problem(record, used)
            if not problem:
                problem = self.records.find_swallowed_row(record, label, labels)
            if problem:
                report = {"row": record.number, "problem": problem, "record": dict(record.values)}
                bad.append(_as_readable_json(report) + "\n")
            else:
                good.append(record)
        predictions = self._predict_records(good)
        if self.request.metrics:
            self.scored.append((predictions.labels, predictions.probabilities, predictions.decisions))
        self._count(len(good), len(bad))
        return predictions, bad

    def _predict_records(self, good: Sequence[Record]) -> Predictions:
        classes, multi_label = self.predictor.classes, self.predictor.multi_label
        if not good:
            empty = np.zeros((0, len(classes)), dtype=np.float32)
            return Predictions([], [], empty, empty.astype(np.int8), classes, multi_label)
        text, text_pair, own_id = self.data["text"], self.data["text_pair"], self.data["id"]
        # An empty cell is an empty text, as in training.
        texts = [record.values[text] or "" for record in good]
        pairs = [record.values[text_pair] or "" for record in good] if text_pair else None
        ids = [record.values[own_id] or "" if own_id else str(record.number) for record in good]
        # A fused run loads its members while it predicts.
        with in_precision(self.precision):
            predictions = self.predictor.predict(texts, pairs, ids)
        return replace(predictions, labels=[self._label_cells(record.values) for record in good])

    def _label_cells(self, values: Mapping[str, Any]) -> Any:
        """The cell with the label, or a list of cells if each label has its column."""
        columns = self.data["label"]
        return [values.get(name) for name in columns] if isinstance(columns, list) else values.get(columns)

    def _count(self, rows: int, bad: int) -> None:
        self.summary.rows += rows
        self.summary.bad += bad


def _as_readable_json(report: Mapping[str, Any]) -> str:
    """A line of JSON with letters as they are, unless a cell has bytes that cannot be decoded."""
    line = json.dumps(report, default=str, ensure_ascii=False)
    return json.dumps(report, default=str) if re.search("[\ud800-\udfff]", line) else line


def _files_of(piece: Path, scored: bool) -> list[Path]:
    return [piece, piece.with_suffix(".bad"), *([piece.with_suffix(".npz")] if scored else [])]


def _read_json(path: Path) -> Any:
    """Read a JSON file; None if it is missing or damaged."""
    try:
        return read_json(path)
    except UserError:
        return None


def _output_rows(predictions: Predictions) -> Iterator[list[Any]]:
    rows = zip(predictions.ids, predictions.names(), predictions.probabilities, strict=True)
    for row_id, prediction, probabilities in rows:
        yield [row_id, prediction, *(float(f"{probability:.6g}") for probability in probabilities)]
