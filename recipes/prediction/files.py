"""Predicting a file of any size: read ahead, predict grouped by length, write in the order that was read.

What is done stands in pieces beside the output until all is done, so the same command started again goes on. Memory is
that of the rows that are read ahead, whatever the file's size; only what `metrics` asks for grows with the rows.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.data.columns import label_name
from recipes.data.records import STANDARD, Record, format_of, join_pieces, records, write_piece, write_rows
from recipes.errors import UserError, nearest
from recipes.metrics import Predictions, measure
from recipes.prediction.predictors import Reader, load_predictor
from recipes.runs.files import atomic_write, lock_folder, write_json
from recipes.runs.folder import finished_run
from recipes.runtime.precision import fast

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
REQUEST = "asked.json"


@dataclass(frozen=True)
class PredictionRequest:
    """What is to be predicted, and how."""

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


@dataclass
class PredictionSummary:
    """What came of it."""

    rows: int = 0
    bad: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] | None = None

    @property
    def read(self) -> int:
        """All rows, good and bad."""
        return self.rows + self.bad


class Job:
    """One file to be predicted.

    Args:
        asked: by the user.
        say: what to do with the number of rows that are done and kept.

    Raises:
        UserError: there is no such run or input, or the output is there already.
    """

    def __init__(self, request: PredictionRequest, say: Callable[[int], None] = lambda rows: None) -> None:
        """Look at everything that is cheap; the model waits."""
        self.request, self.say = request, say
        self.run = finished_run(request.run)
        if request.look_ahead < 1:
            raise UserError(f"--look-ahead={request.look_ahead}: at least one row must be read.")
        self.data = self.run.config["data"]
        kind = format_of(request.source, request.source_format)
        self.kind = kind if request.target == STANDARD else format_of(request.target, None, gzipped=False)
        self.target, self.bad_rows = Path(request.target), Path(f"{request.target}.bad.jsonl")
        for path in (self.target, self.bad_rows) if request.target != STANDARD else ():
            if path.exists():
                raise UserError(f"{path} is there already; remove it, or name another output.")
        if request.target == STANDARD and self.kind == "parquet":
            raise UserError("-: Parquet cannot be written to standard output; name a file, or give --format.")
        self.records = records(request.source, kind)
        self.told = PredictionSummary()
        self.scored: list[tuple[Sequence[Any], np.ndarray, np.ndarray]] = []

    def go(self) -> PredictionSummary:
        """Predict everything."""
        began = time.perf_counter()
        self.reader: Reader = load_predictor(self.run)
        self.names = ["id", "prediction", *(f"p_{name}" for name in self.reader.classes)]
        if self.request.target == STANDARD:
            self._to_standard_output()
        else:
            self._to_file()
        if self.request.metrics:
            self.told.metrics = self._measured()
        self.told.seconds = time.perf_counter() - began
        return self.told

    def _measured(self) -> dict[str, float]:
        labels = [label for each, _, _ in self.scored for label in each]
        probabilities, decisions = (np.concatenate([each[part] for each in self.scored]) for part in (1, 2))
        ids = [str(row) for row in range(len(labels))]
        return measure(Predictions(ids, labels, probabilities, decisions, self.reader.classes, self.reader.multi_label))

    def _chunks(self) -> Iterator[list[Record]]:
        while chunk := list(islice(self.records, self.request.look_ahead)):
            if chunk[0].number == 0:
                self._check_columns(chunk)
            yield chunk
        if not self.told.read:
            raise UserError(f"{self.request.source}: there is no row in it.")

    def _check_columns(self, chunk: Sequence[Record]) -> None:
        """Where none of the first rows has a column that the run was trained on, it is not one bad row."""
        there = {name for record in chunk for name in record.values}
        for setting in ("text", "text_pair", "id"):
            name = self.data[setting]
            if name and there and name not in there:
                raise UserError(
                    f"{self.request.source} has no column {name!r}, which {self.request.run} was trained on "
                    f"(data.{setting}={name}); {nearest(name, there)}"
                )

    # Where it goes.

    def _to_standard_output(self) -> None:
        for number, chunk in enumerate(self._chunks()):
            found, bad = self._answered(chunk)
            if not number and self.kind != "jsonl":
                write_rows(sys.stdout, self.kind, self.names, [self.names])
            write_rows(sys.stdout, self.kind, self.names, _rows(found))
            sys.stdout.flush()
            sys.stderr.writelines(bad)
            self.say(self.told.read)

    def _to_file(self) -> None:
        parts = self.target.with_name(f"{self.target.name}.parts")
        if parts.exists() and not (parts / REQUEST).exists() and any(parts.glob("[!.]*")):
            raise UserError(f"{parts} holds other files, and what is done of {self.target} is kept there; move it.")
        with lock_folder(parts, f"{self.target}: another process is predicting into it; name another output."):
            pieces = self._held(parts)
            for _ in islice(self.records, self.told.read):
                pass
            for number, chunk in enumerate(self._chunks(), len(pieces)):
                pieces.append(parts / f"{number:08d}")
                self._keep(pieces[-1], *self._answered(chunk))
                self.say(self.told.read)
            with atomic_write(self.target) as draft:
                join_pieces(pieces, draft, self.kind, self.names)
            if self.told.bad:
                with atomic_write(self.bad_rows) as draft:
                    join_pieces([piece.with_suffix(".bad") for piece in pieces], draft, "jsonl", [])
        shutil.rmtree(parts)

    def _held(self, parts: Path) -> list[Path]:
        """The whole pieces that are there already, of the same input and run; anything else goes."""
        files = [Path(self.request.source), self.run.folder / "metrics.json"]
        state = [[file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()]
        deciding_tricks = ("source", "run", "precision", "metrics")
        request = {"state": state, **{name: getattr(self.request, name) for name in deciding_tricks}}
        pieces: list[Path] = []
        if self.request.source != STANDARD and _read_json(parts / REQUEST) == request:
            while told := self._take_back(parts / f"{len(pieces):08d}"):
                pieces.append(parts / f"{len(pieces):08d}")
                self._count(told["rows"], told["bad"])
        for path in parts.glob("[!.]*"):
            if path.with_suffix("") not in pieces:
                path.unlink()
        write_json(parts / REQUEST, request)
        return pieces

    def _keep(self, piece: Path, found: Predictions, bad: Sequence[str]) -> None:
        """Write a piece; its `.json` comes last, and says what must be there."""
        with atomic_write(piece) as draft:
            write_piece(draft, self.kind, self.names, list(_rows(found)), self.reader.multi_label)
        with atomic_write(piece.with_suffix(".bad")) as draft:
            draft.write_text("".join(bad), encoding="utf-8")
        if self.request.metrics:
            with atomic_write(piece.with_suffix(".npz")) as draft, draft.open("wb") as file:
                np.savez(file, probabilities=found.probabilities, decisions=found.decisions)
        sizes = {path.name: path.stat().st_size for path in _files_of(piece, self.request.metrics)}
        labels = list(found.labels) if self.request.metrics else []
        write_json(
            piece.with_suffix(".json"), {"rows": len(found.ids), "bad": len(bad), "labels": labels, "sizes": sizes}
        )

    def _take_back(self, piece: Path) -> dict[str, Any] | None:
        """What is known of a piece, if it is whole."""
        told: dict[str, Any] | None = _read_json(piece.with_suffix(".json"))
        files = [path for path in _files_of(piece, self.request.metrics) if path.exists()]
        if told is None or told["sizes"] != {path.name: path.stat().st_size for path in files}:
            return None
        if self.request.metrics:
            with np.load(piece.with_suffix(".npz")) as numbers:
                self.scored.append((told["labels"], numbers["probabilities"], numbers["decisions"]))
        return told

    # What the model says.

    def _answered(self, chunk: Sequence[Record]) -> tuple[Predictions, list[str]]:
        """The answers to the rows that can be read, and a line for each other one."""
        bad, good = [], []
        for record in chunk:
            if problem := record.problem or self._problem(record.values):
                told = {"row": record.number, "problem": problem, "record": dict(record.values)}
                bad.append(json.dumps(told, default=str) + "\n")
            else:
                good.append(record)
        found = self._predicted(good)
        if self.request.metrics:
            self.scored.append((found.labels, found.probabilities, found.decisions))
        self._count(len(good), len(bad))
        return found, bad

    def _predicted(self, good: Sequence[Record]) -> Predictions:
        classes, multi_label = self.reader.classes, self.reader.multi_label
        if not good:
            nothing = np.zeros((0, len(classes)), dtype=np.float32)
            return Predictions([], [], nothing, nothing.astype(np.int8), classes, multi_label)
        own, second = self.data["id"], self.data["text_pair"]
        ids = [_as_text(record.values[own]) if own else str(record.number) for record in good]
        pairs = [_as_text(record.values[second]) for record in good] if second else None
        with _autocast(self.request.precision):
            found = self.reader.predict([_as_text(record.values[self.data["text"]]) for record in good], pairs, ids)
        return replace(found, labels=[self._label(record.values.get(self.data["label"])) for record in good])

    def _problem(self, values: Mapping[str, Any]) -> str:
        for setting in ("text", "text_pair", "id"):
            name = self.data[setting]
            if name and (name not in values or isinstance(values[name], list | dict)):
                return f"no {setting.replace('_', ' ')} in {name!r}"
        return ""

    def _label(self, cell: Any) -> Any:
        """A cell as training reads it: a name, a list of names, or None."""
        if not self.reader.multi_label or cell is None:
            return label_name(cell)
        separator = self.data["label_separator"]
        names = cell if isinstance(cell, list) else str(cell).split(separator) if separator else [cell]
        return [name for name in dict.fromkeys(map(label_name, names)) if name]

    def _count(self, rows: int, bad: int) -> None:
        self.told.rows, self.told.bad = self.told.rows + rows, self.told.bad + bad


def _as_text(cell: Any) -> str:
    """As training reads it: an empty cell is an empty text."""
    return "" if cell is None else cell if isinstance(cell, str) else str(cell)


def _files_of(piece: Path, scored: bool) -> list[Path]:
    return [piece, piece.with_suffix(".bad"), *([piece.with_suffix(".npz")] if scored else [])]


def _read_json(path: Path) -> Any:
    """What a file holds; None where it is not there or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _rows(found: Predictions) -> Iterator[list[Any]]:
    for name, chosen, shares in zip(found.ids, found.names(), found.probabilities, strict=True):
        yield [name, chosen, *(float(f"{share:.6g}") for share in shares)]


def _autocast(precision: str) -> AbstractContextManager[Any]:
    on_gpu = torch.cuda.is_available()
    chosen = fast(on_gpu) if precision == "auto" else precision
    if chosen == "fp32":
        return nullcontext()
    return torch.autocast("cuda" if on_gpu else "cpu", DTYPES[chosen])
