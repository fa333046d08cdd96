"""Read rows from a file, from the Hugging Face hub, or from the standard library's docstrings."""

import ast
import csv
import functools
import json
import sysconfig
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset

from recipes.config import Data
from recipes.data.formats import FORMATS, SEPARATORS, open_bytes
from recipes.errors import UserError, nearest

# Names of the loaders that `datasets` has for the formats.
LOADERS = {"csv": "csv", "tsv": "csv", "jsonl": "json", "parquet": "parquet"}
# Classes of the embedded data set, and the words that a docstring must have.
PYDOCS_CLASSES = 12
PYDOCS_WORDS = 8


def read_file(split: str, path: str) -> Dataset:
    """Read a data file: CSV, TSV, JSON or JSON lines, each possibly gzip, or Parquet.

    Args:
        split: train, validation, test, or a name in `evaluate.extra`.
        path: of the file.

    Returns:
        Its rows, under the file's own column names; cells of CSV and TSV are text.

    Raises:
        UserError: the file does not exist, or cannot be read; with the line where possible.
    """
    file = Path(path).expanduser()
    setting = f"data.{split}={path}" if split in ("train", "validation", "test") else f"evaluate.extra.{split}={path}"
    if not file.is_file():
        siblings = [entry.name for entry in file.parent.glob("*.*") if FORMATS.keys() & set(entry.suffixes)]
        hint = nearest(file.name, siblings[:50]) if siblings else f"{file.parent.resolve()} holds no data files."
        raise UserError(f"{setting}: there is no such file; {hint}")
    # The last ending that is a format: data.csv.gz is CSV.
    suffix = next((end for end in reversed(file.suffixes) if end in FORMATS), None)
    if suffix is None:
        raise UserError(f"{setting}: the ending must be one of {', '.join(FORMATS)} (.gz may follow).")
    kind = FORMATS[suffix]
    try:
        options = _csv_options(file, SEPARATORS[kind]) if kind in SEPARATORS else {}
        with warnings.catch_warnings():
            # pandas only warns when it drops the cells for which the header has no name.
            warnings.filterwarnings("error", "Length of header or names does not match")
            rows = datasets.load_dataset(LOADERS[kind], data_files=str(file.resolve()), split="train", **options)
        if kind == "jsonl":
            # The JSON reader accepts bytes that are not UTF-8 as text.
            for column in rows.data.columns:
                column.validate(full=True)
    except (datasets.exceptions.DatasetsError, OSError, EOFError, StopIteration, ValueError, zlib.error) as error:
        raise UserError(f"{setting}: {_explain_failure(error, file)}") from error
    return rows


def _csv_options(file: Path, separator: str) -> dict[str, Any]:
    """Options that make pandas leave every cell as it is: "NA" is a word, and "007" is not 7."""
    with open_bytes(file) as raw:
        lines = (line.decode("utf-8-sig") for line in raw)
        header = next((row for row in csv.reader(lines, delimiter=separator) if row), [])
    if twice := [name for name, count in Counter(header).items() if name and count > 1]:
        raise ValueError(f"the header names {twice[0]!r} twice")
    names = [name or f"column {number}" for number, name in enumerate(header, 1)]
    features = datasets.Features({name: datasets.Value("string") for name in names})
    return {
        "sep": separator,
        "features": features,
        "column_names": names,
        "header": 0,
        "index_col": False,
        "keep_default_na": False,
        "encoding": "utf-8-sig",
        # In a table with one column an empty line is a row with an empty text.
        "skip_blank_lines": len(names) > 1,
    }


def _explain_failure(error: BaseException, file: Path) -> str:
    """Explain why a file cannot be read, in a sentence for the user.

    `datasets` wraps the errors of pandas and Arrow, so the whole chain of causes is searched for known messages.
    """
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    text = "\n".join(map(str, chain))
    if any(isinstance(cause, UnicodeDecodeError) for cause in chain) or "Invalid UTF8" in text:
        return _explain_encoding(file)
    if "EOF inside string" in text:
        row = text.partition("starting at row ")[2].split()[0]
        return f"a quote is opened and never closed (in record {row}); close it, or double it inside a quoted cell."
    if "Expected" in text and "saw" in text or "Length of header" in text:
        line = text.partition("in line ")[2].split(",")[0]
        where = f"line {line}" if line else "the first row"
        return f"{where} has more cells than the header has names; put quotes around a text that holds the separator."
    if "No columns to parse" in text or isinstance(error, StopIteration):
        return "the file is empty."
    if "corresponds to no data" in text or "BatchSize must be greater than 0" in text:
        return "the file has no rows."
    if {".json", ".jsonl"} & set(file.suffixes) and (problem := _first_bad_line(file)):
        return problem
    reason = next((str(cause) for cause in reversed(chain) if str(cause).strip()), type(error).__name__)
    return f"cannot be read: {reason.strip().splitlines()[0].rstrip('.')}."


def _explain_encoding(file: Path) -> str:
    with open_bytes(file) as lines:
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
    with open_bytes(file) as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return f"line {number} is not a JSON object; each line must be one, with the columns as keys."
            except ValueError as error:
                return f"line {number} is not valid JSON ({error}); each line must be a JSON object."
    return None


def read_hub(settings: Data, split: str, source: str) -> Dataset:
    """Read a split of a data set on the hub, or of a folder with the same layout.

    Args:
        settings: the config's `data`.
        split: the setting that names it: train, validation or test.
        source: the hub's name of the split.

    Raises:
        UserError: the split cannot be loaded.
    """
    try:
        return datasets.load_dataset(settings.name, settings.subset, split=source)
    # RuntimeError: the data set needs its own loading script, which `datasets` no longer runs.
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"data.name={settings.name}: split {source} cannot be loaded ({reason}). Check data.name, data.subset, "
            f"data.{split} and the network; or download it elsewhere and use data=files."
        ) from error


@functools.cache
def read_pydocs() -> Dataset:
    """Collect docstrings of the standard library, labelled with their package.

    The 12 packages with the most docstrings are the classes. Each text occurs once and has at least 8 words.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    packages: dict[str, str] = {}
    for package in sorted(entry for entry in root.iterdir() if (entry / "__init__.py").is_file()):
        if package.name in ("test", "site-packages", "lib2to3") or package.name.startswith("_"):
            continue
        for file in sorted(package.rglob("*.py")):
            if {"test", "tests"} & set(file.parts):
                continue
            for text in _docstrings(file):
                packages.setdefault(text, package.name)
    by_size = sorted(Counter(packages.values()).items(), key=lambda item: (-item[1], item[0]))
    classes = {name for name, _ in by_size[:PYDOCS_CLASSES]}
    rows = [{"text": text, "label": package} for text, package in packages.items() if package in classes]
    return Dataset.from_list(rows)


def _docstrings(file: Path) -> list[str]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, kinds)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return [text for text in texts if len(text.split()) >= PYDOCS_WORDS]
