"""Read the user's files, the hub or the embedded data set into training, validation and test splits.

An example is a row of a `datasets.Dataset` with the columns `id`, `source`, `text`, `text_pair` and `label`:

- `id` is the record's number in its file, or the column `data.id`.
- `source` is the id of the original for a row that augmentation adds, else the row's own id.
- `label` is a name, or a list of names where a record may have several; null if it has none.

A million short texts are read in seconds. While they are split they take about seven times the file's size in memory.
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
from recipes.data.columns import as_dataset, as_examples, read_column
from recipes.data.labels import Labels, describe_labels, is_number, is_unlabelled, sort_labels
from recipes.data.pydocs import read_pydocs
from recipes.data.sources import read_file, read_hub
from recipes.data.splitting import factorize, has_label_lists, select_fold, split_off, table_label_counts
from recipes.errors import UserError, list_names

# Our own messages report what goes wrong in a file; `datasets` would log it a second time.
datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)
datasets.disable_progress_bars()


@dataclass(frozen=True)
class VisibleSplits:
    """The rows that a run may see before its weights are chosen: neither the test split nor the extra ones."""

    train: Dataset
    validation: Dataset
    is_fold: bool
    """Whether other runs on the same data may have trained on this run's validation rows."""
    hidden_digests: Callable[[], frozenset[bytes]]
    """Returns digests (`recipes.data.duplicates`) of the hidden rows; computed on the first call."""
    find_hidden: Callable[[Sequence[str], float, int], frozenset[str]]
    """Returns those of some folded texts that nearly duplicate a hidden row, by threshold and length of a shingle."""
    hidden_ids: frozenset[str]
    """The ids of the hidden rows."""


@dataclass(frozen=True)
class Splits:
    """The data of one run."""

    train: Dataset
    validation: Dataset
    test: Dataset | None
    classes: list[str]
    """The labels of the training rows, in the model's order; labels that only other splits have are not included."""
    multi_label: bool
    """Whether a record may have several labels, or none."""
    extra: dict[str, Dataset] = field(default_factory=dict)
    """More splits to score at the end, by name."""
    notes: list[str] = field(default_factory=list)
    """Messages about the data for the user."""
    groups: np.ndarray | None = None
    """A number for each training row, (row); rows with the same number stay in one split."""
    excluded_rows: Sequence[Dataset] = ()
    """Rows of the full data set that this run, as one of its folds, neither sees nor scores."""
    is_fold: bool = False
    """Whether other runs on the same data may have trained on this run's validation rows."""
    multi_hot: int = 0
    """The length of the lists in the files, if each is 0 or 1 for each class; else 0."""

    def hide_test(self, clean_rows: Callable[[Dataset], Dataset]) -> "VisibleSplits":
        """The rows that a run may see before its weights are chosen.

        Args:
            clean_rows: cleans the texts of a split as the run does, so that digests match across splits.
        """
        hidden = [*self.hidden_splits().values(), *self.excluded_rows]
        ids = [name for rows in hidden for name in rows["id"]]

        @functools.cache
        def digests() -> frozenset[bytes]:
            return frozenset(
                duplicates.digest(text) for rows in hidden for text in duplicates.fold_rows(clean_rows(rows))
            )

        def find(texts: Sequence[str], threshold: float, shingle: int) -> frozenset[str]:
            folded = dict.fromkeys(text for rows in hidden for text in duplicates.fold_rows(clean_rows(rows)))
            first = duplicates.first_near_duplicates(folded, texts, threshold, shingle, inside=False)
            return frozenset(text for text in texts if first[text] != text or text in folded)

        return VisibleSplits(self.train, self.validation, self.is_fold, digests, find, frozenset(ids))

    @property
    def fingerprint(self) -> list[str]:
        """Identifies the training and validation rows."""
        return [self.train._fingerprint, self.validation._fingerprint]

    def hidden_splits(self) -> dict[str, Dataset]:
        """The splits that no run may see before its weights are chosen: test and extra, by name."""
        return {**({} if self.test is None else {"test": self.test}), **self.extra}


def read_splits(settings: Data, extra: dict[str, str], test: bool) -> Splits:
    """Read every split that the config names, and split the others off the training rows.

    Args:
        settings: the config's `data`.
        extra: more files to score at the end, by name.
        test: whether to read the test split.

    Raises:
        UserError: a file, a column or a label does not fit the config; all problems of one step together.
    """
    sources = {"train": settings.train, "validation": settings.validation, "test": settings.test, **extra}
    raw: dict[str, Dataset] = {}
    problems, notes = list[str](), list[str]()
    if settings.source == "pydocs":
        raw["train"] = read_pydocs()
        sources |= {"train": "standard library", "validation": None, "test": None}
    for name, source in sources.items():
        if source and name not in raw and (test or name != "test"):
            try:
                if settings.source == "hub":
                    raw[name] = read_hub(settings, name, source)
                else:
                    raw[name], of_file = read_file(name, source, settings)
                    notes += of_file
            except UserError as error:
                problems += error.problems
    if problems:
        raise UserError(*problems)

    examples: dict[str, pa.Table] = {}
    labels: dict[str, Labels] = {}
    for name, rows in raw.items():
        # The training rows are the first ones; the other splits have their form of labels.
        multi_hot = labels["train"].multi_hot if "train" in labels else None
        try:
            examples[name], labels[name] = as_examples(rows, settings, name, str(sources[name]), multi_hot)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)

    notes += [note for each in labels.values() for note in each.notes]
    notes += describe_labels(table_label_counts(examples["train"]), "train")
    notes += _check_missing_labels(examples)

    groups = factorize(read_column(raw["train"], settings.group, "group", "train")) if settings.group else None
    # The test split is split off even if it is not to be read, so that the other splits do not depend on it.
    for name, fraction in (("test", settings.test_fraction), ("validation", settings.validation_fraction)):
        if not sources[name]:
            rows = examples["train"]
            # Both fractions are of all rows, also the second one, which is taken from fewer.
            fraction_of_rest = fraction * len(raw["train"]) / len(rows)
            if name == "validation" and settings.fold is not None:
                rest, part = select_fold(rows, groups, settings.fold, settings.fold_count, settings.split_seed)
            else:
                rest, part = split_off(rows, groups, fraction_of_rest, settings.split_seed)
            groups = None if groups is None else groups[rest]
            examples[name], examples["train"] = rows.take(part), rows.take(rest)
    if not test:
        examples.pop("test", None)
    columns = settings.label if isinstance(settings.label, list) else []
    return _make_splits(examples, list(extra), notes, groups, labels["train"], columns)


def _check_missing_labels(examples: dict[str, pa.Table]) -> list[str]:
    """Find rows and splits without labels, and set the placeholder labels of unlabelled splits to null.

    Returns:
        Notes on the splits and rows that get predictions only.

    Raises:
        UserError: training or validation rows have no label; one split has lists of labels and another single labels;
            or the training labels are not those of a classification task.
    """
    train = examples["train"]
    multi_label, classes = has_label_lists(train), table_label_counts(train)
    problems, notes = list(_training_label_problems(train)), []
    for name, rows in list(examples.items()):
        needs_labels = name in ("train", "validation")
        if not needs_labels and is_unlabelled(table_label_counts(rows), classes):
            no_labels = pa.nulls(len(rows), rows["label"].type)
            examples[name] = rows.set_column(rows.column_names.index("label"), "label", no_labels)
            notes.append(f"{name} has no labels; it gets predictions only.")
            continue
        if has_label_lists(rows) != multi_label:
            if multi_label:
                problems.append(f"{name} has one label per row, but train has lists of labels; write both alike.")
            else:
                problems.append(f"{name} has lists of labels, but train has one label per row; write both alike.")
        if name == "train" and not classes:
            continue  # already among the problems
        missing = np.flatnonzero(rows["label"].is_null().to_numpy())
        if not len(missing):
            continue
        message = f"{name}: {len(missing)} of {len(rows)} rows have no label"
        if needs_labels:
            problems.append(f"{message} (first: id {rows['id'][missing[0]]}); label or remove them.")
        else:
            notes.append(f"{message}; they get predictions only.")
    if problems:
        raise UserError(*problems)
    return notes


def _training_label_problems(rows: pa.Table) -> Iterator[str]:
    """What makes the labels of the training rows unfit for a classifier."""
    classes, multi_label = list(table_label_counts(rows)), has_label_lists(rows)
    # A single class is enough if it is multi-label: a row may have it or not.
    if len(classes) < 2 and not (multi_label and classes):
        labels = f"only one class, {classes[0]!r}" if classes else "no labels"
        yield f"train has {labels}; a classifier needs at least two. Is data.label the right column?"
    # More than one label for two rows: probably a column of ids, texts or measurements.
    if len(classes) > len(rows) / 2 and len(classes) > 50 and not multi_label:
        scale = " Numbers on a scale are not classes; write a few bins." if all(map(is_number, classes)) else ""
        yield f"train has {len(classes)} different labels in {len(rows)} rows; is data.label the right column?{scale}"


def _make_splits(
    examples: dict[str, pa.Table],
    extra: Sequence[str],
    notes: list[str],
    groups: np.ndarray | None,
    labels: Labels,
    columns: Sequence[str],
) -> Splits:
    """Make the splits, after the checks that need the final training rows.

    Args:
        examples: rows of each split.
        extra: names of the splits in `evaluate.extra`.
        notes: for the user, on what was read so far.
        groups: a number for each training row, (row), if `data.group` is set.
        labels: how the labels of the training rows were read.
        columns: names of the columns, if each label has one.

    Raises:
        UserError: the training rows cannot be trained on, or labels of two splits do not fit each other.
    """
    problems = list(_training_label_problems(examples["train"]))
    train_counts = table_label_counts(examples["train"])
    classes = sort_labels(train_counts)
    if absent := [name for name in columns or map(str, range(labels.multi_hot)) if name not in train_counts]:
        notes.append(f"train: no row has the label {list_names(absent, most=5, last=' or ')}, so it is not a class.")
    for name, rows in examples.items():
        counts = table_label_counts(rows)
        unseen = {label: count for label, count in counts.items() if label not in train_counts}
        if unseen:
            problem, note = _explain_unseen_labels(name, unseen, counts, classes)
            problems += problem
            notes += note
        empty = pc.sum(pc.equal(pc.utf8_trim_whitespace(rows["text"]), "")).as_py()
        if empty:
            notes.append(f"{name} has {empty} empty {'text' if empty == 1 else 'texts'}.")
    if problems:
        raise UserError(*problems)
    splits = {name: as_dataset(rows) for name, rows in examples.items()}
    return Splits(
        splits["train"],
        splits["validation"],
        splits.get("test"),
        classes,
        has_label_lists(examples["train"]),
        {name: splits[name] for name in extra},
        notes,
        groups,
        multi_hot=labels.multi_hot,
    )


def _explain_unseen_labels(
    split: str, unseen: Mapping[str, int], counts: Mapping[str, int], classes: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Explain labels of a split that no training row has.

    Args:
        split: its name.
        unseen: rows of each such label.
        counts: rows of each label of the split.
        classes: the labels of the training rows.

    Returns:
        A list with the problem, or with the note if it is none; the other list is empty.
    """
    shown = ", ".join(f"{label!r} ({count})" for label, count in sorted(unseen.items())[:5])
    message = f"{split} has labels that train does not: {shown}{' ...' if len(unseen) > 5 else ''}"
    if len(unseen) == len(counts):
        # Names in one split and class numbers in the other are the most frequent reason.
        one_has_numbers = all(map(str.isdecimal, unseen)) != all(map(str.isdecimal, classes))
        advice = (
            "One has names, the other class numbers; write the names in both."
            if one_has_numbers
            else "Are they spelt alike?"
        )
        return [f"{message}, and none of train's: {', '.join(classes[:10])}. {advice}"], []
    if misspelt := list(_find_misspelt(unseen, counts, classes)):
        return [f"{message}; {', '.join(misspelt)}? Spell them alike, or rename one if they are two labels."], []
    return [], [f"{message}; they count as errors in accuracy and are left out of loss, brier and ece."]


def _find_misspelt(unseen: Iterable[str], counts: Mapping[str, int], classes: Sequence[str]) -> Iterator[str]:
    """Find unseen labels that look like another spelling of a training label.

    A different case is always one. Otherwise the training label must not occur in the split: if both occur, they are
    two labels.
    """
    for label in sorted(unseen):
        same = [name for name in classes if name.casefold() == label.casefold()]
        # Labels with digits, such as class1 and class10, are similar by design.
        absent = [name for name in classes if name not in counts and not any(map(str.isdecimal, name + label))]
        for name in absent:
            is_prefix = name.startswith(label) or label.startswith(name)
            if is_prefix and min(len(name), len(label)) >= 3:
                same.append(name)
        if close := same or difflib.get_close_matches(label, absent, n=1, cutoff=0.85):
            yield f"is {label!r} train's {close[0]!r}"
