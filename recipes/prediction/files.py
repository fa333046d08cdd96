"""Predict a file of any size: read ahead, predict grouped by length, and write in the order of the input.

Finished chunks are stored as pieces in the folder `<output>.parts` until the output is complete, so the same command
started again goes on. Memory is bounded by the rows that are read ahead, whatever the size of the file; only the
labels and probabilities for `metrics` grow with the rows.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.data.columns import find_problem, label_name, used_columns
from recipes.data.formats import STANDARD, format_of
from recipes.data.pieces import join_pieces, write_piece, write_rows
from recipes.data.records import Record, records
from recipes.errors import UserError, nearest
from recipes.metrics import Predictions, measure
from recipes.prediction.predictors import AnyPredictor, load_predictor
from recipes.runs.files import atomic_write, lock_folder, write_json
from recipes.runs.folder import finished_run
from recipes.runtime.precision import fast

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
REQUEST = "asked.json"


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
    """auto, fp32, bf16 or fp16."""
    metrics: bool = False
    """Whether to score the rows that have a label."""
    encoding: str | None = None
    """Of an input that is not UTF-8; None: as the run's `data.encoding`, and UTF-8 for a stream."""


# The fields of a request that decide its results: pieces of a request that differs in one of them are not used.
DECIDING_FIELDS = ("source", "encoding", "run", "precision", "metrics")


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
    notes: list[str] = field(default_factory=list)
    """How the input is read, where a user may not expect it."""

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
        if request.look_ahead < 1:
            raise UserError(f"--look-ahead={request.look_ahead}: at least one row must be read.")
        self.data = self.finished_run.config["data"]
        source_format = format_of(request.source, request.source_format)
        # Standard output has no ending that could name a format, so it gets that of the input.
        is_standard = request.target == STANDARD
        self.target_format = source_format if is_standard else format_of(request.target, None, gzipped=False)
        self.target, self.bad_rows = Path(request.target), Path(f"{request.target}.bad.jsonl")
        for path in (self.target, self.bad_rows) if not is_standard else ():
            if path.exists():
                raise UserError(f"{path} exists; remove it, or name another output.")
        if is_standard and self.target_format == "parquet":
            raise UserError("-: Parquet cannot be written to standard output; name a file, or give --format.")
        encoding = request.encoding or (self.data["encoding"] if Path(request.source).is_file() else None)
        used = self._used_columns().values()
        self.records = records(request.source, source_format, used, self.data["header"], encoding)
        self.summary = PredictionSummary()
        # Labels, probabilities and decisions of each chunk, for the scores.
        self.scored: list[tuple[Sequence[Any], np.ndarray, np.ndarray]] = []

    def run(self) -> PredictionSummary:
        """Predict all rows.

        Raises:
            UserError: the input has other columns than the training data, or no rows; another process predicts into the
                same output; the run folder is damaged; the output cannot be written.
        """
        began = time.perf_counter()
        self.predictor: AnyPredictor = load_predictor(self.finished_run)
        self.columns = ["id", "prediction", *(f"p_{name}" for name in self.predictor.classes)]
        if self.request.target == STANDARD:
            self._predict_to_standard_output()
        else:
            self._predict_to_file()
        if self.request.metrics:
            self.summary.metrics = self._measure()
        self.summary.notes = self.records.notes
        self.summary.seconds = time.perf_counter() - began
        return self.summary

    def _measure(self) -> dict[str, float]:
        """Score the rows that have a label."""
        labels = [label for chunk_labels, _, _ in self.scored for label in chunk_labels]
        probabilities, decisions = (np.concatenate([chunk[part] for chunk in self.scored]) for part in (1, 2))
        ids = [str(row) for row in range(len(labels))]
        classes, multi_label = self.predictor.classes, self.predictor.multi_label
        return measure(Predictions(ids, labels, probabilities, decisions, classes, multi_label))

    def _read_chunks(self) -> Iterator[list[Record]]:
        while chunk := list(islice(self.records, self.request.look_ahead)):
            if chunk[0].number == 0:
                self._check_columns(chunk)
            yield chunk
        if not self.summary.rows_read:
            raise UserError(f"{self.request.source}: there is no row in it.")

    def _used_columns(self) -> dict[str, str]:
        """The columns of the input that are needed, by setting."""
        needed = ("text", "text_pair", "id", *(("label",) if self.request.metrics else ()))
        return {setting: name for setting, name in used_columns(self.data).items() if setting in needed}

    def _check_columns(self, chunk: Sequence[Record]) -> None:
        """Raise if none of the first rows has a column that the run needs: then the file is wrong, not one row."""
        names = self.records.names(chunk)
        for setting, name in self._used_columns().items():
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

    def _predict_to_file(self) -> None:
        parts = self.target.with_name(f"{self.target.name}.parts")
        # Without a request file the folder is not ours, and its files must not be deleted.
        if parts.exists() and not (parts / REQUEST).exists() and any(parts.glob("[!.]*")):
            raise UserError(f"{parts} holds other files, but the finished part of {self.target} goes there; move it.")
        with lock_folder(parts, f"{self.target}: another process is predicting into it; name another output."):
            pieces = self._restore_pieces(parts)
            # Skip the rows that are done.
            for _ in islice(self.records, self.summary.rows_read):
                pass
            for number, chunk in enumerate(self._read_chunks(), len(pieces)):
                pieces.append(parts / f"{number:08d}")
                self._save_piece(pieces[-1], *self._predict_chunk(chunk))
                self.report_progress(self.summary.rows_read)
            with atomic_write(self.target) as draft:
                join_pieces(pieces, draft, self.target_format, self.columns)
            if self.summary.bad:
                with atomic_write(self.bad_rows) as draft:
                    join_pieces([piece.with_suffix(".bad") for piece in pieces], draft, "jsonl", [])
        shutil.rmtree(parts)

    def _restore_pieces(self, parts: Path) -> list[Path]:
        """Find the pieces of an interrupted job of the same input and run, and delete all other files."""
        files = [Path(self.request.source), self.finished_run.folder / "metrics.json"]
        state = [[file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()]
        request = {"state": state, **{name: getattr(self.request, name) for name in DECIDING_FIELDS}}
        pieces: list[Path] = []
        if self.request.source != STANDARD and _read_json(parts / REQUEST) == request:
            while piece := self._load_piece(parts / f"{len(pieces):08d}"):
                pieces.append(parts / f"{len(pieces):08d}")
                self._count(piece["rows"], piece["bad"])
        for path in parts.glob("[!.]*"):
            if path.with_suffix("") not in pieces:
                path.unlink()
        write_json(parts / REQUEST, request)
        return pieces

    def _save_piece(self, piece: Path, predictions: Predictions, bad: Sequence[str]) -> None:
        """Write a piece; its `.json`, which lists the sizes of its files, comes last."""
        with atomic_write(piece) as draft:
            rows = list(_output_rows(predictions))
            write_piece(draft, self.target_format, self.columns, rows, self.predictor.multi_label)
        with atomic_write(piece.with_suffix(".bad")) as draft:
            draft.write_text("".join(bad), encoding="utf-8")
        if self.request.metrics:
            with atomic_write(piece.with_suffix(".npz")) as draft, draft.open("wb") as file:
                np.savez(file, probabilities=predictions.probabilities, decisions=predictions.decisions)
        sizes = {path.name: path.stat().st_size for path in _files_of(piece, self.request.metrics)}
        labels = list(predictions.labels) if self.request.metrics else []
        summary = {"rows": len(predictions.ids), "bad": len(bad), "labels": labels, "sizes": sizes}
        write_json(piece.with_suffix(".json"), summary)

    def _load_piece(self, piece: Path) -> dict[str, Any] | None:
        """Read the `.json` of a piece and its scores; None if the piece is missing or incomplete."""
        summary: dict[str, Any] | None = _read_json(piece.with_suffix(".json"))
        files = [path for path in _files_of(piece, self.request.metrics) if path.exists()]
        if summary is None or summary["sizes"] != {path.name: path.stat().st_size for path in files}:
            return None
        if self.request.metrics:
            with np.load(piece.with_suffix(".npz")) as arrays:
                self.scored.append((summary["labels"], arrays["probabilities"], arrays["decisions"]))
        return summary

    # Predicting the rows.

    def _predict_chunk(self, chunk: Sequence[Record]) -> tuple[Predictions, list[str]]:
        """Predict the rows that can be read, and make a JSON line for each of the others."""
        bad, good, used = [], [], self._used_columns()
        for record in chunk:
            problem = find_problem(record, used)
            if not problem:
                problem = self.records.find_swallowed_row(record, self.data["label"], self.predictor.classes)
            if problem:
                report = {"row": record.number, "problem": problem, "record": dict(record.values)}
                bad.append(json.dumps(report, default=str) + "\n")
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
        with _autocast(self.request.precision):
            predictions = self.predictor.predict(texts, pairs, ids)
        labels = [self._parse_label(record.values.get(self.data["label"])) for record in good]
        return replace(predictions, labels=labels)

    def _parse_label(self, cell: Any) -> Any:
        """Read a cell as training does: a name, a list of names, or None."""
        if not self.predictor.multi_label or cell is None:
            return label_name(cell)
        separator = self.data["label_separator"]
        names = cell if isinstance(cell, list) else str(cell).split(separator) if separator else [cell]
        return [name for name in dict.fromkeys(map(label_name, names)) if name]

    def _count(self, rows: int, bad: int) -> None:
        self.summary.rows += rows
        self.summary.bad += bad


def _files_of(piece: Path, scored: bool) -> list[Path]:
    return [piece, piece.with_suffix(".bad"), *([piece.with_suffix(".npz")] if scored else [])]


def _read_json(path: Path) -> Any:
    """Read a JSON file; None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _output_rows(predictions: Predictions) -> Iterator[list[Any]]:
    rows = zip(predictions.ids, predictions.names(), predictions.probabilities, strict=True)
    for row_id, prediction, probabilities in rows:
        yield [row_id, prediction, *(float(f"{probability:.6g}") for probability in probabilities)]


def _autocast(precision: str) -> AbstractContextManager[Any]:
    on_gpu = torch.cuda.is_available()
    resolved = fast(on_gpu) if precision == "auto" else precision
    if resolved == "fp32":
        return nullcontext()
    return torch.autocast("cuda" if on_gpu else "cpu", DTYPES[resolved])
