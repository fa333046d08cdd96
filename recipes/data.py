"""Reading: the user's files, the hub, or the embedded default, as three splits of examples.

An example is a row `id, source, text, text_pair, label` of a `datasets.Dataset`. `id` is the record's number in its
file, or `data.id`; a copy that augmentation makes has its original's id as `source`. `label` is a name, or a list of
names where a record may have several; null where there is none. A million short texts are read in seconds and take
about seven times their file's size while they are cut.
"""

import ast
import csv
import difflib
import functools
import gzip
import json
import math
import sysconfig
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from recipes import copies
from recipes.config import Data
from recipes.errors import UserError, nearest

FORMATS = {".csv": ("csv", ","), ".tsv": ("csv", "\t"), ".jsonl": ("json", ""), ".json": ("json", ""),
           ".parquet": ("parquet", "")}  # fmt: skip
PYDOCS_CLASSES = 12

# What goes wrong in a file is said by our own errors, once.
datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)
datasets.disable_progress_bars()


@dataclass(frozen=True)
class OpenSplits:
    """The rows that a run may see before its weights are chosen: no test split, no extra ones."""

    train: Dataset
    validation: Dataset
    is_fold: bool
    """Whether other runs on the same data may have learned what judges this one."""
    digests_of_closed: Callable[[], frozenset[bytes]]
    """Digests (`recipes.copies`) of the rows that the run may not see, made when first asked for."""


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
    groups: np.ndarray | None = None
    """A number for each training row, (row); equal ones stay together."""
    kept_apart: Sequence[Dataset] = ()
    """Rows that this run neither sees nor scores: those of the whole that it is a part of."""
    is_fold: bool = False
    """Whether other runs on the same data may have learnt what judges this one."""

    def opened(self, cleaned: Callable[[Dataset], Dataset]) -> "OpenSplits":
        """The rows that a run may see while it is made.

        Args:
            cleaned: what the run makes of the texts of a split.
        """
        closed = [*self.shut_splits().values(), *self.kept_apart]

        @functools.cache
        def digests() -> frozenset[bytes]:
            return frozenset(copies.digest(text) for rows in closed for text in copies.folded(cleaned(rows)))

        return OpenSplits(self.train, self.validation, self.is_fold, digests)

    @property
    def fingerprint(self) -> list[str]:
        """Tells the rows that a run is made of from others."""
        return [self.train._fingerprint, self.validation._fingerprint]

    def shut_splits(self) -> dict[str, Dataset]:
        """What no run may look at before its weights are chosen."""
        return {**({} if self.test is None else {"test": self.test}), **self.extra}


def read_splits(settings: Data, extra: dict[str, str], test: bool) -> Splits:
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
    for name, source in sources.items():
        if source and name not in raw and (test or name != "test"):
            try:
                raw[name] = _read_hub(settings, name, source) if settings.source == "hub" else _read_file(name, source)
            except UserError as error:
                problems += error.problems
    if problems:
        raise UserError(*problems)
    examples: dict[str, pa.Table] = {}
    for name, rows in raw.items():
        try:
            examples[name] = _as_examples(rows, settings, name, str(sources[name]))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    notes = _settle_labels(examples)
    groups = _codes(_column(raw["train"], settings.group, "group", "train")) if settings.group else None
    for name, share in (("test", settings.test_share), ("validation", settings.validation_share)):
        if not sources[name]:
            rows = examples["train"]
            rest, part = _cut(rows, groups, share * len(raw["train"]) / len(rows), settings.split_seed)
            groups = None if groups is None else groups[rest]
            examples[name], examples["train"] = rows.take(part), rows.take(rest)
    if not test:
        examples.pop("test", None)
    return _checked(examples, list(extra), notes, groups)


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
        "sep": separator, "features": features, "column_names": names, "header": 0, "index_col": False,
        "keep_default_na": False, "encoding": "utf-8-sig", "skip_blank_lines": len(names) > 1,
    }  # fmt: skip


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
    largest = {label for label, _ in sorted(Counter(rows.values()).items(), key=lambda item: (-item[1], item[0]))
               [:PYDOCS_CLASSES]}  # fmt: skip
    kept = [{"text": text, "label": label} for text, label in rows.items() if label in largest]
    return Dataset.from_list(kept)


def _column(rows: Dataset, name: str, setting: str, split: str) -> pa.ChunkedArray:
    if name not in rows.column_names:
        raise UserError(f"data.{setting}={name}: {split} has no such column; {nearest(name, rows.column_names)}")
    return rows.select_columns(name).with_format("arrow")[:][name]


def _texts(rows: Dataset, name: str, setting: str, split: str) -> pa.ChunkedArray:
    column = _column(rows, name, setting, split)
    if _is_json(rows.features[name]):  # where cells are of several kinds
        column = pa.chunked_array([pa.array([_written(cell) for cell in column.to_pylist()], pa.large_string())])
    if pa.types.is_nested(column.type):
        raise UserError(f"data.{setting}={name}: {split} holds {column.type} there, not text.")
    try:
        return pc.fill_null(pc.cast(column, pa.large_string()), "")
    except pa.ArrowException as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"data.{setting}={name}: {split} holds {column.type} there, not text ({reason}).") from error


def _is_json(feature: Any) -> bool:
    return type(feature).__name__ == "Json"  # not in every version that we take


def _written(cell: str | None) -> str | None:
    value = None if cell is None else json.loads(cell)
    return value if value is None or isinstance(value, str) else str(value)


def _as_examples(rows: Dataset, settings: Data, split: str, source: str) -> pa.Table:
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
    if settings.group and split == "train":
        put("group", _column, rows, settings.group, "group", split)
    if "id" in columns and settings.id:
        counts = pc.value_counts(columns["id"])
        again = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(again):
            problems.append(
                f"data.id={settings.id}: {split} has {again[0]['values'].as_py()!r} more than once; ids must be unique."
            )
    if problems:
        raise UserError(*problems)
    columns.setdefault("label", pa.nulls(len(rows), pa.large_string()))
    columns.setdefault("text_pair", pa.nulls(len(rows), pa.large_string()))
    columns["source"] = columns["id"]
    order = ("id", "source", "text", "text_pair", "label")
    return pa.table({name: columns[name] for name in order})


def _labels(rows: Dataset, settings: Data, split: str) -> pa.ChunkedArray:
    """Label names, or lists of them; null where a row has none (an empty cell, or a number below a hub's names)."""
    column = _column(rows, settings.label, "label", split)
    feature = rows.features[settings.label]
    inside = getattr(feature, "feature", None)
    lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    cells: list[Any] = []
    if _is_json(feature):  # where cells are of several kinds
        cells = [None if cell is None else json.loads(cell) for cell in column.to_pylist()]
        lists = any(isinstance(cell, list) for cell in cells)
        if not lists:
            return pa.chunked_array([pa.array([label_name(cell, None) for cell in cells], pa.large_string())])
    if lists:
        cells = cells or column.to_pylist()
        several = [cell if cell is None or isinstance(cell, list) else [cell] for cell in cells]
        return _label_lists([cell and [label_name(value, inside) for value in cell] for cell in several])
    if pa.types.is_nested(column.type):
        raise UserError(f"data.label={settings.label}: {split} holds {column.type} there, not labels.")
    if settings.separator:
        parts = [cell.split(settings.separator) for cell in _texts(rows, settings.label, "label", split).to_pylist()]
        return _label_lists([[label_name(part, None) for part in cell] for cell in parts])
    coded = column.combine_chunks().dictionary_encode()
    names = pa.array([label_name(value, feature) for value in coded.dictionary.to_pylist()], pa.large_string())
    return pa.chunked_array([pc.take(names, coded.indices)])


def _label_lists(cells: Sequence[Sequence[str | None] | None]) -> pa.ChunkedArray:
    """Several labels to a row, each once."""
    kept = [None if cell is None else [name for name in dict.fromkeys(cell) if name] for cell in cells]
    return pa.chunked_array([pa.array(kept, pa.list_(pa.large_string()))])


def label_name(value: Any, feature: Any = None) -> str | None:
    """A label cell as a name; None where there is none."""
    if isinstance(feature, datasets.ClassLabel) and isinstance(value, int):
        return None if value < 0 else str(feature.int2str(value))
    if value is None or str(value).strip() == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _has_lists(rows: pa.Table) -> bool:
    return bool(pa.types.is_list(rows["label"].type))


def _label_counts(rows: pa.Table) -> dict[str, int]:
    counts = pc.value_counts((pc.list_flatten(rows["label"]) if _has_lists(rows) else rows["label"]).drop_null())
    return {each["values"]: each["counts"] for each in counts.to_pylist()}


def label_counts(rows: Dataset) -> Counter[str]:
    """How many rows have each label, 0 where none has; a row with several labels counts for each."""
    return Counter(_label_counts(rows.with_format("arrow")[:]))


def _settle_labels(examples: dict[str, pa.Table]) -> list[str]:
    """Find the splits, and the rows, that have no labels.

    Returns:
        Notes on those that get predictions only.

    Raises:
        UserError: they are training or validation rows; one split has lists of labels and another has not; or what the
            training rows have cannot be learnt from.
    """
    known, several = _label_counts(examples["train"]), _has_lists(examples["train"])
    problems, notes = list(_untrainable(examples["train"])), []
    for name, rows in list(examples.items()):
        counts, held = _label_counts(rows), name in ("train", "validation")
        # All rows at -1, or without any of several labels, is how unlabelled test sets come.
        unlabelled = not counts or (list(counts) == ["-1"] and "-1" not in known)
        if unlabelled and not held:
            examples[name] = rows.set_column(4, "label", pa.nulls(len(rows), rows["label"].type))
            notes.append(f"{name} has no labels; it gets predictions only.")
            continue
        if _has_lists(rows) != several:
            problems.append(f"{name} has {'one label' if several else 'lists of labels'} to a row, train has not.")
        if not counts and name == "train":
            continue
        missing = np.flatnonzero(rows["label"].is_null().to_numpy())
        if len(missing) and held:
            problems.append(
                f"{name}: {len(missing)} of {len(rows)} rows have no label (first: id {rows['id'][missing[0]]}); "
                "label or remove them."
            )
        elif len(missing):
            notes.append(f"{name}: {len(missing)} of {len(rows)} rows have no label; they get predictions only.")
    if problems:
        raise UserError(*problems)
    return notes


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each different value, (row); null is a value."""
    coded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return np.asarray(coded.indices)


def strata(rows: pa.Table) -> np.ndarray:
    """The class of each row, (row); of several labels the rarest."""
    if not _has_lists(rows):
        return _codes(rows["label"])
    counts = _label_counts(rows)
    rarest = [min(names, key=lambda name: (counts[name], name), default="") for names in rows["label"].to_pylist()]
    return _codes(pa.chunked_array([pa.array(rarest, pa.large_string())]))


def _cut(rows: pa.Table, groups: np.ndarray | None, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut off about this share of the rows, and of each class; groups stay whole.

    Returns:
        The rows that stay and the rows cut off, each in the file's order.
    """
    classes, random = strata(rows), np.random.default_rng(seed)
    taken = _spread(classes, share, random) if groups is None else _whole_groups(classes, groups, share, random)
    if share >= 1 or not 0 < taken.sum() < len(rows):
        what = f"{len(rows)} rows" if groups is None else f"{len(np.unique(groups))} groups"
        raise UserError(
            f"{what} of {len(np.unique(classes))} classes are too few to cut {share:.0%} off; give data.validation and "
            "data.test, or more rows."
        )
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def _spread(strata: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Take evenly from the rows in order of class, any order within: each class gives its share, to one row."""
    count, mixed = round(len(strata) * share), random.permutation(len(strata))
    taken = np.zeros(len(strata), dtype=bool)
    if not count:
        return taken
    # One row of each class stays in training, unless that would leave too few.
    kept = mixed[np.unique(strata[mixed], return_index=True)[1]]
    free = np.setdiff1d(mixed, kept) if len(strata) - len(kept) >= count else np.sort(mixed)
    classes = random.permutation(strata.max() + 1)[strata]
    order = free[np.lexsort((random.random(len(free)), classes[free]))]
    marks = np.floor(np.arange(len(free) + 1) * (count / len(free)) + 0.5)
    taken[order] = np.diff(marks) > 0
    return taken


def _whole_groups(strata: np.ndarray, groups: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Take groups, in any order, as long as each brings the class counts nearer to their share."""
    wanted = share * np.bincount(strata)
    taken = np.zeros(len(strata), dtype=bool)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    for number in random.permutation(len(members)):
        found, counts = np.unique(strata[members[number]], return_counts=True)
        # |wanted - counts|^2 < |wanted|^2
        if (counts * (2 * wanted[found] - counts)).sum() > 0:
            wanted[found] -= counts
            taken[members[number]] = True
    if not taken.any() and len(members) > 1:  # each is larger than what is wanted
        taken[min(members, key=len)] = True
    return taken


def _in_order(names: Iterable[str]) -> list[str]:
    """Numbers by value, names by letter."""
    known = sorted(names)
    return sorted(known, key=int) if all(name.lstrip("-").isdecimal() for name in known) else known


def _checked(
    examples: dict[str, pa.Table], extra: Sequence[str], notes: list[str], groups: np.ndarray | None
) -> Splits:
    """Refuse what cannot be trained on, and note what the user should know."""
    problems = list(_untrainable(examples["train"]))
    counts = {name: _label_counts(rows) for name, rows in examples.items()}
    classes = _in_order(counts["train"])
    for name, rows in examples.items():
        unseen = {label: count for label, count in counts[name].items() if label not in counts["train"]}
        if unseen:
            listing = ", ".join(f"{label!r} ({count})" for label, count in sorted(unseen.items())[:5])
            told = f"{name} has labels that train does not: {listing}{' ...' if len(unseen) > 5 else ''}"
            if len(unseen) == len(counts[name]):
                problems.append(f"{told}, and none that it has: {', '.join(classes[:10])}. {_apart(unseen, classes)}")
            elif misspelt := list(_misspelt(unseen, counts[name], classes)):
                problems.append(
                    f"{told}; {', '.join(misspelt)}? Spell them alike, or rename one if they are two labels."
                )
            else:
                notes.append(f"{told}; they count as errors in accuracy and are left out of loss and ece.")
        empty = pc.sum(pc.equal(pc.utf8_trim_whitespace(rows["text"]), "")).as_py()
        if empty:
            notes.append(f"{name} has {empty} empty {'text' if empty == 1 else 'texts'}.")
    if problems:
        raise UserError(*problems)
    made = {name: Dataset(rows.combine_chunks()) for name, rows in examples.items()}
    held = {name: made[name] for name in extra}
    several = _has_lists(examples["train"])
    return Splits(made["train"], made["validation"], made.get("test"), classes, several, held, notes, groups)


def _untrainable(rows: pa.Table) -> Iterator[str]:
    classes, several = list(_label_counts(rows)), _has_lists(rows)
    if len(classes) < 2 and not (several and classes):
        what = f"only one class, {classes[0]!r}" if classes else "no labels"
        yield f"train has {what}; a classifier needs at least two. Is data.label the right column?"
    if len(classes) > len(rows) / 2 and len(classes) > 50 and not several:
        yield f"train has {len(classes)} different labels in {len(rows)} rows; is data.label the right column?"


def _apart(unseen: Iterable[str], classes: Iterable[str]) -> str:
    """What to do about two splits without a label in common."""
    if len({all(map(str.isdecimal, names)) for names in (unseen, classes)}) > 1:
        return "One has names, the other their numbers; write the names in both."
    return "Are they spelt alike?"


def _misspelt(unseen: Iterable[str], held: Mapping[str, int], classes: Sequence[str]) -> Iterator[str]:
    """Labels that are one of training's under another spelling: one that is never used here as training has it."""
    for label in sorted(unseen):
        absent = [name for name in classes if name not in held and not any(map(str.isdecimal, name + label))]
        same = [name for name in classes if name.casefold() == label.casefold()]
        same += [name for name in absent if min(len(name), len(label)) >= 3 and
                 (name.startswith(label) or label.startswith(name))]  # fmt: skip
        if close := same or difflib.get_close_matches(label, absent, n=1, cutoff=0.85):
            yield f"is {label!r} train's {close[0]!r}"
