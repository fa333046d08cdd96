"""Reading: the user's files, the hub, or the embedded default, as three splits of examples.

An example is a row `id, source, text, text_pair, label` of a `datasets.Dataset` (memory-mapped, so a million rows cost
no memory). `id` is the record's number in its file, or `data.id`; a copy that augmentation makes has its original's id
as `source`. `label` is a name, or a list of names where a record may have several; null where there is none.
"""

import ast
import csv
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from recipes.config import Data
from recipes.errors import UserError, nearest

FORMATS = {".csv": ("csv", ","), ".tsv": ("csv", "\t"), ".jsonl": ("json", ""), ".json": ("json", ""),
           ".parquet": ("parquet", "")}  # fmt: skip
PYDOCS_CLASSES = 12

# What goes wrong in a file is said by our own errors, once.
datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)
datasets.disable_progress_bars()


@dataclass(frozen=True)
class Splits:
    """The data of one run."""

    train: Dataset
    validation: Dataset
    test: Dataset | None
    classes: list[str]
    """The labels of the training rows, in order; a label that only other splits have is not among them."""
    multi_label: bool
    """Whether a record may have several labels, or none."""
    extra: dict[str, Dataset] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What the user should know of this data."""

    def without_test(self) -> "Splits":
        """What a run may see while it is made: the test split and the extra ones stay shut."""
        return replace(self, test=None, extra={})


def read(settings: Data, extra: dict[str, str], test: bool) -> Splits:
    """Read every split that the config names, and cut those that it does not name from the training rows.

    Args:
        settings: the config's `data`.
        extra: more files to score at the end, by name.
        test: whether the test split is to be opened at all.

    Raises:
        UserError: a file, a column, or a label is not as the config says; all that was found, together.
    """
    sources = {"train": settings.train, "validation": settings.validation, "test": settings.test, **extra}
    raw: dict[str, Dataset] = {}
    problems: list[str] = []
    if settings.source == "pydocs":
        raw["train"] = _read_pydocs()
        sources |= {"train": "standard library", "validation": None, "test": None}
    elif not settings.train:
        problems.append(f"data.train is not set; data={settings.source} needs data.train=<{_kind(settings)}>.")
    for name, source in sources.items():
        if source and name not in raw:
            try:
                raw[name] = _read_hub(settings, name, source) if settings.source == "hub" else _read_file(name, source)
            except UserError as error:
                problems += error.problems
    if problems:
        raise UserError(*problems)
    examples = {}
    for name, rows in raw.items():
        try:
            examples[name] = _as_examples(rows, settings, name, str(sources[name]))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    for name in {"train", "validation"} & examples.keys():
        if missing := [row for row, label in enumerate(examples[name]["label"]) if label is None]:
            problems.append(
                f"{name}: {len(missing)} of {len(examples[name])} rows have no label (first: id "
                f"{examples[name]['id'][missing[0]]}); label or remove them."
            )
    if problems:
        raise UserError(*problems)
    groups = _column(raw["train"], settings.group, "group", "train") if settings.group else None
    for name, share in (("test", settings.test_share), ("validation", settings.validation_share)):
        if name not in examples:
            whole = len(raw["train"]) / len(examples["train"])
            rest, part = _cut(examples["train"], groups, min(0.5, share * whole), settings.split_seed)
            groups = None if groups is None else groups.take(pa.array(rest))
            examples[name], examples["train"] = examples["train"].select(part), examples["train"].select(rest)
    return _checked(examples, list(extra), test)


def _kind(settings: Data) -> str:
    return "a split's name" if settings.source == "hub" else "path of a CSV, TSV, JSONL or Parquet file"


def _read_file(split: str, path: str) -> Dataset:
    file = Path(path).expanduser()
    setting = f"data.{split}={path}" if split in ("train", "validation", "test") else f"evaluate.extra.{split}={path}"
    if not file.is_file():
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise UserError(f"{setting}: there is no such file; {nearest(file.name, siblings[:50])}")
    suffix = next((end for end in reversed(file.suffixes) if end in FORMATS), None)
    if suffix is None:
        raise UserError(f"{setting}: the ending must be one of {', '.join(FORMATS)} (.gz may follow).")
    if file.stat().st_size == 0:
        raise UserError(f"{setting}: the file is empty.")
    builder, separator = FORMATS[suffix]
    options: dict[str, Any] = {}
    try:
        if builder == "csv":
            # Every cell is text as it stands: "NA" is a word, "007" is not 7. A BOM is no part of the first column's name.
            features = datasets.Features({name: datasets.Value("string") for name in _header(file, separator)})
            options = {"sep": separator, "features": features, "keep_default_na": False, "encoding": "utf-8-sig"}
        return datasets.load_dataset(builder, data_files=str(file.resolve()), split="train", **options)
    except (datasets.exceptions.DatasetGenerationError, UnicodeDecodeError, ValueError, pa.ArrowInvalid) as error:
        raise UserError(f"{setting}: {_reading_failed(error, file)}") from error


def _header(file: Path, separator: str) -> list[str]:
    with fsspec.open(str(file), "rt", encoding="utf-8-sig", newline="", compression="infer") as lines:
        return next(csv.reader(lines, delimiter=separator), [])


def _reading_failed(error: BaseException, file: Path) -> str:
    """What is wrong with a file, from the chain of causes."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    for cause in chain:
        if isinstance(cause, UnicodeDecodeError):
            return (
                f"not UTF-8 (byte {cause.start} of a block); convert it, for instance with "
                f"iconv -f GB18030 -t UTF-8 {file.name} > utf8-{file.name}."
            )
        if "EOF inside string" in str(cause):
            return f"a quote is opened and never closed ({str(cause).strip().split('. ')[-1]})."
        if "corresponds to no data" in str(cause):
            return "there is a header and no row under it."
    last = str(chain[-1]).strip().split("\n")[0].removeprefix("Error tokenizing data. C error: ")
    return f"cannot be read: {last.rstrip('.')}."


def _read_hub(settings: Data, split: str, source: str) -> Dataset:
    if not settings.name:
        raise UserError("data.name is not set; data=hub needs data.name=owner/name.")
    try:
        return datasets.load_dataset(settings.name, settings.subset, split=source)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        first = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"data.name={settings.name}, split {source}: cannot be loaded ({first}). Check the name and the network, or "
            "download it elsewhere and use data=files."
        ) from error


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
    largest = {label for label, _ in sorted(Counter(rows.values()).items(), key=lambda item: (-item[1], item[0]))
               [:PYDOCS_CLASSES]}  # fmt: skip
    kept = [{"text": text, "label": label} for text, label in rows.items() if label in largest]
    return Dataset.from_list(kept)


def _column(rows: Dataset, name: str, setting: str, split: str) -> pa.ChunkedArray:
    if name not in rows.column_names:
        raise UserError(f"data.{setting}={name}: {split} has no such column; {nearest(name, rows.column_names)}")
    return rows.with_format("arrow")[:][name]


def _texts(rows: Dataset, name: str, setting: str, split: str) -> pa.ChunkedArray:
    column = _column(rows, name, setting, split)
    if pa.types.is_nested(column.type):
        raise UserError(f"data.{setting}={name}: {split} holds {column.type} there, not text.")
    return pc.fill_null(pc.cast(column, pa.large_string()), "")


def _as_examples(rows: Dataset, settings: Data, split: str, source: str) -> Dataset:
    """The same rows under our column names, text cells as text and labels as names."""
    if not len(rows):
        raise UserError(f"{split} ({source}) has no rows.")
    problems: list[str] = []
    columns: dict[str, Any] = {}

    def put(column: str, make: Any, *arguments: Any) -> None:
        try:
            columns[column] = make(*arguments)
        except UserError as error:
            problems.extend(error.problems)

    if settings.id:
        put("id", _texts, rows, settings.id, "id", split)
    else:
        columns["id"] = pc.cast(pa.array(np.arange(len(rows))), pa.large_string())
    put("text", _texts, rows, settings.text, "text", split)
    if settings.text_pair:
        put("text_pair", _texts, rows, settings.text_pair, "text_pair", split)
    if settings.label in rows.column_names or split in ("train", "validation"):
        put("label", _labels, rows, settings, split)
    if "id" in columns and settings.id:
        again = [value for value, count in Counter(columns["id"].to_pylist()).items() if count > 1]
        if again:
            problems.append(f"data.id={settings.id}: {split} has {again[0]!r} more than once; ids must be unique.")
    if problems:
        raise UserError(*problems)
    columns.setdefault("label", pa.nulls(len(rows), pa.large_string()))
    columns.setdefault("text_pair", pa.nulls(len(rows), pa.large_string()))
    columns["source"] = columns["id"]
    order = ("id", "source", "text", "text_pair", "label")
    return Dataset(pa.table({name: columns[name] for name in order}))


def _labels(rows: Dataset, settings: Data, split: str) -> pa.ChunkedArray:
    """Label names; null where a row has none (an empty cell, or the hub's -1)."""
    column = _column(rows, settings.label, "label", split)
    feature = rows.features[settings.label]
    inside = getattr(feature, "feature", None)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return pa.chunked_array([pa.array(
            [None if cell is None else [_label_name(value, inside) for value in cell] for cell in column.to_pylist()],
            pa.list_(pa.large_string()),
        )])  # fmt: skip
    if settings.separator:
        cells = pc.cast(column, pa.large_string()).to_pylist()
        split_cells = [None if cell is None else [part.strip() for part in cell.split(settings.separator)
                       if part.strip()] for cell in cells]  # fmt: skip
        return pa.chunked_array([pa.array(split_cells, pa.list_(pa.large_string()))])
    names = {value: _label_name(value, feature) for value in pc.unique(column).to_pylist()}
    keys = pa.array(list(names), column.type)
    values = pa.array([names[value] for value in names], pa.large_string())
    return pc.take(values, pc.index_in(column, keys))


def _label_name(value: Any, feature: Any) -> str | None:
    if isinstance(feature, datasets.ClassLabel) and isinstance(value, int):
        return None if value < 0 else str(feature.int2str(value))
    if value is None or str(value).strip() == "" or (value == -1 and not isinstance(value, str)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _strata(labels: Sequence[Any]) -> list[str]:
    return ["\x1f".join(label) if isinstance(label, list) else str(label) for label in labels]


def _cut(rows: Dataset, groups: pa.Array | None, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut off about this share of the rows, stratified by label; groups stay whole.

    Returns:
        The rows that stay and the rows cut off, each in the file's order.
    """
    strata = np.unique(_strata(rows["label"]), return_inverse=True)[1]
    folds = max(2, round(1 / share))
    enough = int(np.bincount(strata).max()) >= folds
    if len(rows) < folds:
        raise UserError(f"{len(rows)} rows are too few to be split in {folds} parts; give data.validation and data.test.")
    if groups is None:
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed) if enough else KFold(
            folds, shuffle=True, random_state=seed)  # fmt: skip
        return _first_fold(splitter.split(strata, strata))
    keys = np.unique([str(value) for value in groups.to_pylist()], return_inverse=True)[1]
    if keys.max() + 1 < folds:
        raise UserError(f"data.group holds {keys.max() + 1} different values, too few for a split in {folds} parts.")
    grouped = StratifiedGroupKFold(folds, shuffle=True, random_state=seed) if enough else GroupKFold(folds)
    return _first_fold(grouped.split(strata, strata, keys))


def _first_fold(folds: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        # A class with fewer members than folds lands where it may; it still trains, and the data card shows it.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        rest, part = next(iter(folds))
    return rest, part


def _in_order(names: Iterable[str]) -> list[str]:
    """Numbers by value, names by letter."""
    known = sorted(names)
    return sorted(known, key=int) if all(name.lstrip("-").isdecimal() for name in known) else known


def _checked(examples: dict[str, Dataset], extra: Sequence[str], test: bool) -> Splits:
    """Refuse what cannot be trained on, and note what the user should know."""
    problems, notes = [], []
    multi_label = pa.types.is_list(examples["train"].features.arrow_schema.field("label").type)
    counts = {name: Counter(_names(rows["label"])) for name, rows in examples.items()}
    classes = _in_order(counts["train"])
    if len(classes) < 2 and not (multi_label and classes):
        what = f"only one class, {classes[0]!r}" if classes else "no labels"
        problems.append(f"train has {what}; a classifier needs at least two. Is data.label the right column?")
    if len(classes) > len(examples["train"]) / 2 and len(classes) > 50 and not multi_label:
        problems.append(
            f"train has {len(classes)} different labels in {len(examples['train'])} rows; is data.label the right column?"
        )
    for name, rows in examples.items():
        unseen = {label: count for label, count in counts[name].items() if label not in counts["train"]}
        if unseen:
            known = sum(unseen.values()) < sum(counts[name].values())
            listing = ", ".join(f"{label!r} ({count})" for label, count in sorted(unseen.items())[:5])
            told = f"{name} has labels that train does not: {listing}{' ...' if len(unseen) > 5 else ''}"
            if known:
                notes.append(f"{told}; they count as errors in accuracy and are left out of loss and ece.")
            else:
                problems.append(f"{told}, and none that it has: {', '.join(classes[:10])}. Are they spelt alike?")
        empty = pc.sum(pc.equal(pc.utf8_trim_whitespace(rows.with_format("arrow")[:]["text"]), "")).as_py()
        if empty:
            notes.append(f"{name} has {empty} empty texts.")
    if problems:
        raise UserError(*problems)
    return Splits(
        examples["train"], examples["validation"], examples["test"] if test else None, classes, multi_label,
        {name: examples[name] for name in extra}, notes,
    )  # fmt: skip


def _names(labels: Iterable[Any]) -> Iterable[str]:
    for label in labels:
        if label is not None:
            yield from label if isinstance(label, list) else [label]
