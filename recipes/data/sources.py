"""Where rows come from: files, the hub, the standard library."""

import ast
import csv
import functools
import gzip
import json
import sysconfig
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import IO, Any, cast

import datasets
from datasets import Dataset

from recipes.config import Data
from recipes.errors import UserError, nearest

FORMATS = {
    ".csv": ("csv", ","),
    ".tsv": ("csv", "\t"),
    ".jsonl": ("json", ""),
    ".json": ("json", ""),
    ".parquet": ("parquet", ""),
}


PYDOCS_CLASSES = 12


def _read_file(split: str, path: str) -> Dataset:
    file = Path(path).expanduser()
    setting = f"data.{split}={path}" if split in ("train", "validation", "test") else f"evaluate.extra.{split}={path}"
    if not file.is_file():
        siblings = [entry.name for entry in file.parent.glob("*.*") if FORMATS.keys() & set(entry.suffixes)]
        hint = nearest(file.name, siblings[:50]) if siblings else f"{file.parent.resolve()} holds no data files."
        raise UserError(f"{setting}: there is no such file; {hint}")
    suffix = next((end for end in reversed(file.suffixes) if end in FORMATS), None)
    if suffix is None:
        raise UserError(f"{setting}: the ending must be one of {', '.join(FORMATS)} (.gz may follow).")
    builder, separator = FORMATS[suffix]
    try:
        options = _csv_options(file, separator) if builder == "csv" else {}
        with warnings.catch_warnings():
            # pandas only warns when it drops the cells for which the header has no name.
            warnings.filterwarnings("error", "Length of header or names does not match")
            rows = datasets.load_dataset(builder, data_files=str(file.resolve()), split="train", **options)
        for column in rows.data.columns if builder == "json" else ():
            column.validate(full=True)  # the JSON reader takes any bytes for text
    except (datasets.exceptions.DatasetsError, OSError, EOFError, StopIteration, ValueError, zlib.error) as error:
        raise UserError(f"{setting}: {_reading_failed(error, file)}") from error
    return rows


def _opened(file: Path) -> IO[bytes]:
    with file.open("rb") as start:
        compressed = start.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(file)) if compressed else file.open("rb")


def _csv_options(file: Path, separator: str) -> dict[str, Any]:
    """How to read a CSV so that every cell is text as it stands: "NA" is a word, "007" is not 7."""
    with _opened(file) as raw:
        lines = (line.decode("utf-8-sig") for line in raw)
        header = next((row for row in csv.reader(lines, delimiter=separator) if row), [])
    if twice := [name for name, count in Counter(header).items() if name and count > 1]:
        raise ValueError(f"the header names {twice[0]!r} twice")
    names = [name or f"column {number}" for number, name in enumerate(header, 1)]
    features = datasets.Features({name: datasets.Value("string") for name in names})
    # Of a table with one column an empty line is a row, an empty text.
    return {
        "sep": separator,
        "features": features,
        "column_names": names,
        "header": 0,
        "index_col": False,
        "keep_default_na": False,
        "encoding": "utf-8-sig",
        "skip_blank_lines": len(names) > 1,
    }


def _reading_failed(error: BaseException, file: Path) -> str:
    """What is wrong with a file, from the chain of causes."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    said = "\n".join(map(str, chain))
    if any(isinstance(cause, UnicodeDecodeError) for cause in chain) or "Invalid UTF8" in said:
        return _not_utf8(file)
    if "EOF inside string" in said:
        row = said.partition("starting at row ")[2].split()[0]
        return (
            f"a quote is opened and never closed (in record {row}); close it, or write it as two inside a quoted cell."
        )
    if "Expected" in said and "saw" in said or "Length of header" in said:
        line = said.partition("in line ")[2].split(",")[0]
        where = f"line {line}" if line else "the first row"
        return f"{where} has more cells than the header has names; put quotes around a text that holds the separator."
    if "No columns to parse" in said or isinstance(error, StopIteration):
        return "the file is empty."
    if "corresponds to no data" in said or "BatchSize must be greater than 0" in said:
        return "there is no row in it."
    if {".json", ".jsonl"} & set(file.suffixes) and (wrong := _first_bad_line(file)):
        return wrong
    reason = next((str(cause) for cause in reversed(chain) if str(cause).strip()), type(error).__name__)
    return f"cannot be read: {reason.strip().splitlines()[0].rstrip('.')}."


def _not_utf8(file: Path) -> str:
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return f"is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {file.name} > utf8-{file.name}."
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"line {number} is not UTF-8 (byte {error.start + 1} of the line); convert the file, for instance "
                    f"with iconv -f GB18030 -t UTF-8 {file.name} > utf8-{file.name}."
                )
    return "is not UTF-8."


def _first_bad_line(file: Path) -> str | None:
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return f"line {number} is no object; each line must be one, with the columns' names."
            except ValueError as error:
                return f"line {number} is no JSON ({error}); each line must be one object."
    return None


def _read_hub(settings: Data, split: str, source: str) -> Dataset:
    try:
        return datasets.load_dataset(settings.name, settings.subset, split=source)
    # RuntimeError: the data set needs a script of its own, which `datasets` runs no longer.
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"data.name={settings.name}: split {source} cannot be loaded ({reason}). Check data.name, data.subset and "
            f"data.{split}, and the network; or download it elsewhere and use data=files."
        ) from error


@functools.cache
def _read_pydocs() -> Dataset:
    """Docstrings of the standard library: the 12 packages with the most of them, each text once, from 8 words on."""
    root = Path(sysconfig.get_paths()["stdlib"])
    rows: dict[str, str] = {}
    for package in sorted(entry for entry in root.iterdir() if (entry / "__init__.py").is_file()):
        if package.name in ("test", "site-packages", "lib2to3") or package.name.startswith("_"):
            continue
        for file in sorted(package.rglob("*.py")):
            if {"test", "tests"} & set(file.parts):
                continue
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    text = ast.get_docstring(node) or ""
                    if len(text.split()) >= 8:
                        rows.setdefault(text, package.name)
    largest = {
        label
        for label, _ in sorted(Counter(rows.values()).items(), key=lambda item: (-item[1], item[0]))[:PYDOCS_CLASSES]
    }
    kept = [{"text": text, "label": label} for text, label in rows.items() if label in largest]
    return Dataset.from_list(kept)
