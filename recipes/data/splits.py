"""Reading: the user's files, the hub, or the embedded default, as three splits of examples.

An example is a row `id, source, text, text_pair, label` of a `datasets.Dataset`. `id` is the record's number in its
file, or `data.id`; a copy that augmentation makes has its original's id as `source`. `label` is a name, or a list of
names where a record may have several; null where there is none. A million short texts are read in seconds and take
about seven times their file's size while they are cut.
"""

import difflib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from recipes.config import Data
from recipes.data import duplicates
from recipes.data.columns import _as_examples, _column
from recipes.data.sources import _read_file, _read_hub, _read_pydocs
from recipes.data.splitting import _codes, _cut, _has_lists, _label_counts
from recipes.errors import UserError

# What goes wrong in a file is said by our own errors, once.
datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)
datasets.disable_progress_bars()


@dataclass(frozen=True)
class VisibleSplits:
    """The rows that a run may see before its weights are chosen: no test split, no extra ones."""

    train: Dataset
    validation: Dataset
    is_fold: bool
    """Whether other runs on the same data may have learned what judges this one."""
    hidden_digests: Callable[[], frozenset[bytes]]
    """Digests (`recipes.data.duplicates`) of the rows that the run may not see, made when first asked for."""


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
    excluded_rows: Sequence[Dataset] = ()
    """Rows that this run neither sees nor scores: those of the whole that it is a part of."""
    is_fold: bool = False
    """Whether other runs on the same data may have learnt what judges this one."""

    def hide_test(self, clean_rows: Callable[[Dataset], Dataset]) -> "VisibleSplits":
        """The rows that a run may see while it is made.

        Args:
            clean_rows: what the run makes of the texts of a split.
        """
        hidden = [*self.hidden_splits().values(), *self.excluded_rows]

        @functools.cache
        def digests() -> frozenset[bytes]:
            return frozenset(
                duplicates.digest(text) for rows in hidden for text in duplicates.fold_rows(clean_rows(rows))
            )

        return VisibleSplits(self.train, self.validation, self.is_fold, digests)

    @property
    def fingerprint(self) -> list[str]:
        """Tells the rows that a run is made of from others."""
        return [self.train._fingerprint, self.validation._fingerprint]

    def hidden_splits(self) -> dict[str, Dataset]:
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
    for name, share in (("test", settings.test_fraction), ("validation", settings.validation_fraction)):
        if not sources[name]:
            rows = examples["train"]
            rest, part = _cut(rows, groups, share * len(raw["train"]) / len(rows), settings.split_seed)
            groups = None if groups is None else groups[rest]
            examples[name], examples["train"] = rows.take(part), rows.take(rest)
    if not test:
        examples.pop("test", None)
    return _checked(examples, list(extra), notes, groups)


def _settle_labels(examples: dict[str, pa.Table]) -> list[str]:
    """Find the splits, and the rows, that have no labels.

    Returns:
        Notes on those that get predictions only.

    Raises:
        UserError: they are training or validation rows; one split has lists of labels and another has not; or what the
            training rows have cannot be learnt from.
    """
    known, multi_label = _label_counts(examples["train"]), _has_lists(examples["train"])
    problems, notes = list(_untrainable(examples["train"])), []
    for name, rows in list(examples.items()):
        counts, held = _label_counts(rows), name in ("train", "validation")
        # All rows at -1, or without any of several labels, is how unlabelled test sets come.
        unlabelled = not counts or (list(counts) == ["-1"] and "-1" not in known)
        if unlabelled and not held:
            examples[name] = rows.set_column(4, "label", pa.nulls(len(rows), rows["label"].type))
            notes.append(f"{name} has no labels; it gets predictions only.")
            continue
        if _has_lists(rows) != multi_label:
            problems.append(f"{name} has {'one label' if multi_label else 'lists of labels'} to a row, train has not.")
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
    multi_label = _has_lists(examples["train"])
    return Splits(made["train"], made["validation"], made.get("test"), classes, multi_label, held, notes, groups)


def _untrainable(rows: pa.Table) -> Iterator[str]:
    classes, multi_label = list(_label_counts(rows)), _has_lists(rows)
    if len(classes) < 2 and not (multi_label and classes):
        what = f"only one class, {classes[0]!r}" if classes else "no labels"
        yield f"train has {what}; a classifier needs at least two. Is data.label the right column?"
    if len(classes) > len(rows) / 2 and len(classes) > 50 and not multi_label:
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
        same += [
            name
            for name in absent
            if min(len(name), len(label)) >= 3 and (name.startswith(label) or label.startswith(name))
        ]
        if close := same or difflib.get_close_matches(label, absent, n=1, cutoff=0.85):
            yield f"is {label!r} train's {close[0]!r}"
