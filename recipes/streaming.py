"""Predicting a file of any size: read ahead, predict grouped by length, write in the order that was read.

What is done stands in pieces beside the output until all is done, so the same command started again goes on. Memory is
that of the rows that are read ahead, whatever the file's size; with `metrics`, and four bytes for each row and class.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.errors import UserError, nearest
from recipes.folder import FinishedRun, label_cell, locked, write_json, written
from recipes.metrics import Predictions, measure
from recipes.precision import fast
from recipes.prediction import Reader, opened
from recipes.records import STANDARD, Record, format_of, join_pieces, records, write_piece, write_rows

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Asked:
    """What decides the output."""

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
class Told:
    """What came of it."""

    rows: int = 0
    bad: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] | None = None


class Job:
    """One file to be predicted.

    Args:
        asked: by the user.
        say: what to do with the rows done so far.

    Raises:
        UserError: there is no such run or input, or the output is there already.
    """

    def __init__(self, asked: Asked, say: Callable[[int], None] = lambda rows: None) -> None:
        """Look at everything that is cheap, then load the model."""
        self.asked, self.say = asked, say
        self.run = FinishedRun(Path(asked.run))
        if not (self.run.folder / "metrics.json").exists():
            raise UserError(f"{asked.run} holds no finished run (there is no metrics.json).")
        self.columns = self.run.config["data"]
        self.kind = format_of(asked.source, asked.source_format)
        self.target_kind = self.kind if asked.target == STANDARD else format_of(asked.target, None)
        if asked.target != STANDARD and Path(asked.target).exists():
            raise UserError(f"{asked.target} is there already; remove it, or name another output.")
        if asked.target == STANDARD and self.target_kind == "parquet":
            raise UserError("-: Parquet cannot be written to standard output; name a file, or --format=csv or jsonl.")
        self.records = records(asked.source, self.kind)
        self.told = Told()
        self.scored: list[tuple[Sequence[Any], np.ndarray, np.ndarray]] = []
        self.classes: Sequence[str] = []
        self.multi_label = False

    def go(self) -> Told:
        """Predict everything."""
        began = time.perf_counter()
        if self.asked.target == STANDARD:
            self._to_standard_output()
        else:
            self._to_file(Path(self.asked.target))
        if self.asked.metrics:
            self.told.metrics = self._measured()
        self.told.seconds = time.perf_counter() - began
        return self.told

    def _measured(self) -> dict[str, float]:
        labels = [label for each, _, _ in self.scored for label in each]
        probabilities, decisions = (np.concatenate([each[part] for each in self.scored]) for part in (1, 2))
        ids = [str(row) for row in range(len(labels))]
        return measure(Predictions(ids, labels, probabilities, decisions, self.classes, self.multi_label))

    def _chunks(self) -> Iterator[list[Record]]:
        while chunk := list(islice(self.records, self.asked.look_ahead)):
            if not self.told.rows + self.told.bad:
                self._check_columns(chunk)
            yield chunk

    def _check_columns(self, chunk: Sequence[Record]) -> None:
        """Somewhere in the first rows the columns must be that the run was trained on; a later row may be a bad one."""
        there = {name for record in chunk for name in record.values}
        for setting in ("text", "text_pair"):
            name = self.columns[setting]
            if name and name not in there:
                raise UserError(
                    f"{self.asked.source} has no column {name!r}, which {self.asked.run} was trained on "
                    f"(data.{setting}={name}); {nearest(name, there)}"
                )

    def _to_standard_output(self) -> None:
        reader = self._opened()
        names = _names(reader.classes)
        if self.target_kind != "jsonl":
            write_rows(sys.stdout, self.target_kind, names, [names])
        for chunk in self._chunks():
            found, bad = self._answered(reader, chunk)
            write_rows(sys.stdout, self.target_kind, names, _rows(found))
            sys.stdout.flush()
            sys.stderr.writelines(bad)

    def _to_file(self, target: Path) -> None:
        parts = target.with_name(f"{target.name}.parts")
        with locked(parts, f"{target}: another process is predicting into it; wait for it, or name another output."):
            done = self._held(parts)
            reader = self._opened()
            for number, chunk in enumerate(self._chunks()):
                piece = parts / f"{number:08d}"
                if number < done:
                    self._take_back(piece)
                else:
                    self._write(piece, *self._answered(reader, chunk))
            pieces = sorted(path for path in parts.iterdir() if path.name.isdecimal())
            if not pieces:
                raise UserError(f"{self.asked.source}: there is no row in it.")
            with written(target) as draft:
                join_pieces(pieces, draft, self.target_kind, _names(reader.classes))
            if self.told.bad:
                with written(target.with_name(f"{target.name}.bad.jsonl")) as draft:
                    join_pieces([piece.with_suffix(".bad") for piece in pieces], draft, "jsonl", [])
        shutil.rmtree(parts)

    def _held(self, parts: Path) -> int:
        """How many pieces are there already, of the same input and run; others go."""
        asked = {**asdict(self.asked), "state": _state(Path(self.asked.source), self.run.folder / "metrics.json")}
        held = parts / "asked.json"
        if self.asked.source == STANDARD or not held.exists() or json.loads(held.read_text(encoding="utf-8")) != asked:
            for path in parts.glob("[!.]*"):
                path.unlink()
            write_json(held, asked)
        number = 0
        while (parts / f"{number:08d}.json").exists():
            number += 1
        return number

    def _write(self, piece: Path, found: Predictions, bad: Sequence[str]) -> None:
        """A piece, and what else must be known of it; its `.json` comes last and says that it is whole."""
        with written(piece) as draft:
            write_piece(draft, self.target_kind, _names(found.classes), list(_rows(found)))
        with written(piece.with_suffix(".bad")) as draft:
            draft.write_text("".join(bad), encoding="utf-8")
        if self.asked.metrics:
            with written(piece.with_suffix(".npz")) as draft, draft.open("wb") as file:
                np.savez(file, probabilities=found.probabilities, decisions=found.decisions)
        labels = list(found.labels) if self.asked.metrics else []
        write_json(piece.with_suffix(".json"), {"rows": len(found.ids), "bad": len(bad), "labels": labels})

    def _take_back(self, piece: Path) -> None:
        told = json.loads(piece.with_suffix(".json").read_text(encoding="utf-8"))
        self._count(told["rows"], told["bad"])
        if self.asked.metrics:
            with np.load(piece.with_suffix(".npz")) as numbers:
                self.scored.append((told["labels"], numbers["probabilities"], numbers["decisions"]))

    def _opened(self) -> Reader:
        reader = opened(self.run)
        self.classes, self.multi_label = reader.classes, reader.multi_label
        return reader

    def _answered(self, reader: Reader, chunk: Sequence[Record]) -> tuple[Predictions, list[str]]:
        """What the model says of the rows that can be read, and a line for each other one."""
        good, bad = [], []
        for record in chunk:
            if problem := record.problem or self._problem(record):
                told = {"row": record.number, "problem": problem, "record": dict(record.values)}
                bad.append(json.dumps(told, default=str) + "\n")
            else:
                good.append(record.values)
        numbers = [str(record.number) for record in chunk if not (record.problem or self._problem(record))]
        own = self.columns["id"]
        ids = [str(values[own]) for values in good] if own and all(own in values for values in good) else numbers
        second = self.columns["text_pair"]
        found = Predictions([], [], np.zeros((0, len(reader.classes))), np.zeros((0, len(reader.classes))),
                            reader.classes, reader.multi_label)  # fmt: skip
        if good:
            with _autocast(self.asked.precision):
                texts = [values[self.columns["text"]] for values in good]
                found = reader.predict(texts, [values[second] for values in good] if second else None, ids)
            found = replace(found, labels=[self._label(values.get(self.columns["label"])) for values in good])
        if self.asked.metrics:
            self.scored.append((found.labels, found.probabilities, found.decisions))
        self._count(len(good), len(bad))
        return found, bad

    def _problem(self, record: Record) -> str:
        for setting in ("text", "text_pair"):
            name = self.columns[setting]
            if name and not isinstance(record.values.get(name), str):
                return f"no text in {name!r}"
        return ""

    def _label(self, cell: Any) -> Any:
        """A cell as `measure` wants a label: a name, a list of names, or None."""
        if cell is None:
            return None
        if self.multi_label:
            separator = self.columns["separator"]
            names = cell if isinstance(cell, list) else str(cell).split(separator) if separator else [cell]
            return [str(name) for name in names if name != ""]
        return None if cell == "" else str(cell)

    def _count(self, rows: int, bad: int) -> None:
        self.told.rows, self.told.bad = self.told.rows + rows, self.told.bad + bad
        self.say(self.told.rows + self.told.bad)


def _state(*files: Path) -> list[int]:
    """What tells whether a file is still the same."""
    return [number for file in files if file.exists() for number in (file.stat().st_size, file.stat().st_mtime_ns)]


def _names(classes: Sequence[str]) -> list[str]:
    return ["id", "prediction", *(f"p_{name}" for name in classes)]


def _rows(found: Predictions) -> Iterator[list[Any]]:
    for name, chosen, shares in zip(found.ids, found.names(), found.probabilities, strict=True):
        yield [name, label_cell(chosen), *(float(f"{share:.6g}") for share in shares)]


def _autocast(precision: str) -> AbstractContextManager[Any]:
    on_gpu = torch.cuda.is_available()
    chosen = fast(on_gpu) if precision == "auto" else precision
    if chosen == "fp32":
        return nullcontext()
    return torch.autocast("cuda" if on_gpu else "cpu", DTYPES[chosen])
