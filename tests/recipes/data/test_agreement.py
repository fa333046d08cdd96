"""Odd files in every format: training and predicting see the same rows, which are the rows that were written."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipes.data.columns import as_examples
from recipes.data.sources import read_file
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.prediction.files import PredictionJob, PredictionRequest
from recipes.testing import finished_run
from tests.recipes.data.helpers import FILES
from tests.sampling import every

Rows = list[tuple[str, str, str]]
PARTS = [
    *"ab é字😀\",\t\n\r|'{}[]:\\#;",
    "\r\n",
    '""',
    '","',
    "\u2028",
    "\x85",
    "\x0b",
    "\x0c",
    "\x00",
    "\ufeff",
    " ",
    "  ",
]
WORDS = ["null", "NaN", "nan", "1e3", "007", "1.0", "-0", "true", "2020-01-02", '"', '"so"', "'", "=1+1", "text,label"]
# What stands in a JSON file, and the text that it is.
JSON_VALUES = [("1e3", "1e3"), ("0.10", "0.10"), ("-0", "-0"), ("1" * 30, "1" * 30), ("true", "true"), ("null", "")]


def make_rows(draw: random.Random, parts: Sequence[str] = PARTS) -> Rows:
    """Rows (text, label, unused column)."""

    def cell() -> str:
        return draw.choice(WORDS) if draw.random() < 0.3 else "".join(draw.choices(parts, k=draw.randrange(12)))

    rows = [(cell(), draw.choice(["x", "y"]), cell()) for _ in range(draw.randrange(2, 11))]
    # A text that begins with LF, right after a header that ends with CR, would look like a CRLF.
    return [("begin", "y", ""), *rows, ("end", "x", "")]


def write_csv(rows: Rows, path: Path, draw: random.Random) -> None:
    text = io.StringIO()
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    separator = "\t" if ".tsv" in path.name else ","
    end = draw.choice(["\n", "\r\n", "\r"])
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerows([("text", "label", "more"), *rows])
    content = text.getvalue().encode(draw.choice(["utf-8", "utf-8-sig", "utf-16"]))
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_plain_tsv(rows: Rows, path: Path, draw: random.Random) -> None:
    end = draw.choice(["\n", "\r\n"])
    path.write_bytes("".join("\t".join(row) + end for row in [("text", "label", "more"), *rows]).encode())


def write_json(rows: Rows, path: Path, draw: random.Random) -> None:
    # A number is written as a text first, and its quotes are removed afterwards.
    numbers = {f"\x01{literal}\x01": literal for literal, _ in JSON_VALUES}
    of_text = {text: f"\x01{literal}\x01" for literal, text in JSON_VALUES if draw.random() < 0.5}
    odd: list[Any] = [None, 1, {"a": [1]}, [[]], "x"]
    values = [{"label": label, "more": draw.choice(odd), "text": of_text.get(text, text)} for text, label, _ in rows]
    indent, ascii_only = draw.choice([None, 2]), draw.random() < 0.5
    texts = [json.dumps(value, indent=indent, ensure_ascii=ascii_only) for value in values]
    layout = draw.choice(["{}", "[{}]"])
    content = layout.replace("{}", draw.choice(["\n", "\r\n", ""] if layout == "{}" else [",", ",\n"]).join(texts))
    for marked, literal in numbers.items():
        content = content.replace(json.dumps(marked), literal)
    path.write_text(content, encoding=draw.choice(["utf-8", "utf-8-sig"]), newline="")


def write_parquet(rows: Rows, path: Path, draw: random.Random) -> None:
    text, label, more = (list(column) for column in zip(*rows, strict=True))
    kind = draw.choice([pa.string(), pa.large_string()])
    coded = pa.array(label).dictionary_encode()
    pq.write_table(pa.table({"text": pa.array(text, kind), "label": coded, "more": more}), path)


def seen_in_training(path: Path) -> list[tuple[str, Any]]:
    rows, _ = read_file("train", str(path), FILES)
    examples, _ = as_examples(rows, FILES, "train", str(path))
    return list(zip(examples["text"].to_pylist(), examples["label"].to_pylist(), strict=True))


def seen_in_predicting(path: Path) -> list[tuple[str, Any]]:
    """The texts that the model gets and the labels that are scored.

    Raises:
        UserError: the file cannot be read, or has a bad row.
    """
    seen: list[tuple[str, Any]] = []

    def predict(texts: list[str], pairs: None, ids: list[str]) -> Predictions:
        seen.extend((text, None) for text in texts)
        zeros = np.zeros((len(texts), 2), np.float32)
        return Predictions(ids, [], zeros, zeros.astype(np.int8), ["x", "y"], False)

    request = PredictionRequest(str(finished_run()), str(path), str(path) + ".out.csv", look_ahead=3, metrics=True)
    job = PredictionJob(request)
    job.data = {**job.data, "text": "text", "label": "label"}
    job.predictor = SimpleNamespace(predict=predict, classes=["x", "y"], multi_label=False)  # type: ignore[assignment]
    for chunk in job._read_chunks():
        _, bad = job._predict_chunk(chunk)
        if bad:
            raise UserError(f"{bad[0]}.")
    labels = job._read_labels([cell for cells, _, _ in job.scored for cell in cells])
    return [(text, label) for (text, _), label in zip(seen, labels, strict=True)]


def outcomes(path: Path) -> Iterator[list[tuple[str, Any]] | None]:
    """What training sees and what predicting sees; None for a refusal."""
    read: Callable[[Path], list[tuple[str, Any]]]
    for read in (seen_in_training, seen_in_predicting):
        try:
            yield read(path)
        except UserError:
            yield None


@pytest.mark.parametrize("seed", every(10, range(40)))
@pytest.mark.parametrize(
    ("name", "write"),
    [("a.csv", write_csv), ("a.csv.gz", write_csv), ("a.jsonl", write_json), ("a.parquet", write_parquet)],
)
def test_all_rows_are_as_they_were_written(name: str, write: Any, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    rows = make_rows(draw)
    write(rows, tmp_path / name, draw)
    training, predicting = outcomes(tmp_path / name)
    assert training == predicting == [(text, label) for text, label, _ in rows]


@pytest.mark.parametrize("seed", every(12, range(60)))
@pytest.mark.parametrize("write", [write_csv, write_plain_tsv])
def test_rows_of_tsv_are_as_they_were_written_or_refused(write: Any, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    rows = make_rows(draw, PARTS if write is write_csv else [part for part in PARTS if not set(part) & set("\t\n\r")])
    write(rows, tmp_path / "a.tsv", draw)
    training, predicting = outcomes(tmp_path / "a.tsv")
    assert training == predicting
    assert training in (None, [(text, label) for text, label, _ in rows])


@pytest.mark.parametrize("seed", every(4, range(60)))
def test_a_damaged_file_is_seen_alike_or_refused_by_both(seed: int, tmp_path: Path) -> None:
    """A byte is lost, doubled or changed: both readers see the same rows, and none without a complaint by both."""
    draw = random.Random(seed)
    name, write = draw.choice([("a.csv", write_csv), ("a.tsv", write_csv), ("a.jsonl", write_json)])
    path = tmp_path / name
    write(make_rows(draw), path, draw)
    content = path.read_bytes()
    at = draw.randrange(len(content))
    damaged = draw.choice([b"", content[at : at + 1] * 2, b'"', b"\xe9", b"\n"])
    path.write_bytes(content[:at] + damaged + content[at + 1 :])
    training, predicting = outcomes(path)
    # Labels are not needed to predict.
    is_unlabelled = training is None and predicting and not any(label for _, label in predicting)
    assert training == predicting or is_unlabelled


def test_a_file_without_a_header_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"x\tgood\ny\t\xe9t\xe9 tr\xe8s beau\n" * 9)
    settings = replace(FILES, header=False, encoding="latin-1", text="2", label="1")
    rows, notes = read_file("train", str(tmp_path / "a.tsv"), settings)
    assert rows["2"][:2] == ["good", "été très beau"] and notes == ["a.tsv is read as LATIN-1."]
