"""Split rows off the training rows, stratified by label, with groups intact."""

import warnings
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from recipes.errors import UserError


def has_label_lists(rows: pa.Table) -> bool:
    """Whether a row may have more than one label."""
    return bool(pa.types.is_list(rows["label"].type))


def table_label_counts(rows: pa.Table) -> dict[str, int]:
    """`label_counts` of an Arrow table, in order of first occurrence."""
    labels = pc.list_flatten(rows["label"]) if has_label_lists(rows) else rows["label"]
    counts = pc.value_counts(labels.drop_null())
    return {each["values"]: each["counts"] for each in counts.to_pylist()}


def label_counts(rows: Dataset) -> Counter[str]:
    """How many rows have each label; a row with several labels counts for each of them."""
    return Counter(table_label_counts(rows.with_format("arrow")[:]))


def factorize(column: pa.ChunkedArray) -> np.ndarray:
    """Number the different values of a column, (row), from 0; null is a value too."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices)


def strata(rows: pa.Table) -> np.ndarray:
    """The number of each row's class, (row); if a row has several labels, that of the label with the fewest rows."""
    if not has_label_lists(rows):
        return factorize(rows["label"])
    counts = table_label_counts(rows)
    rarest = [min(names, key=lambda name: (counts[name], name), default="") for names in rows["label"].to_pylist()]
    return factorize(pa.chunked_array([pa.array(rarest, pa.large_string())]))


def split_off(rows: pa.Table, groups: np.ndarray | None, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split off about this fraction of the rows, and of each class.

    Args:
        rows: examples.
        groups: a number for each row, (row); rows with the same number stay together. None: every row on its own.
        fraction: of the rows, between 0 and 1.
        seed: of the random draws.

    Returns:
        The indices of the rows that remain and of those split off, each in the file's order.

    Raises:
        UserError: there are too few rows or groups.
    """
    classes, random = strata(rows), np.random.default_rng(seed)
    if groups is None:
        selected = _select_rows(classes, fraction, random)
    else:
        selected = _select_groups(classes, groups, fraction, random)
    if fraction >= 1 or not 0 < selected.sum() < len(rows):
        units = f"{len(rows)} rows" if groups is None else f"{len(np.unique(groups))} groups"
        raise UserError(
            f"{units} of {len(np.unique(classes))} classes are too few to split off {fraction:.0%}; give "
            "data.validation and data.test, or more rows."
        )
    return np.flatnonzero(~selected), np.flatnonzero(selected)


def assign_folds(classes: np.ndarray, groups: np.ndarray | None, count: int, seed: int, setting: str) -> np.ndarray:
    """Divide rows into folds of about equal size, stratified by class.

    Args:
        classes: the number of each row's class, (row).
        groups: a number for each row, (row); rows with the same number are in one fold. None: every row on its own.
        count: number of folds.
        seed: of the shuffle.
        setting: the setting that decides the count, and its value, for the message.

    Returns:
        The number of each row's fold, from 0, (row).

    Raises:
        UserError: there are too few rows, or groups of them.
    """
    num_groups = len(classes) if groups is None else len(np.unique(groups))
    fold_of_row = np.zeros(len(classes), dtype=int)
    if np.bincount(classes).max() >= count and num_groups >= count:
        # Late: scikit-learn takes half a second, and only folds need it.
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(count, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            # A class with fewer rows than folds is allowed: its rows go to as many folds as there are rows.
            warnings.filterwarnings("ignore", "The least populated class")
            for number, (_, rows) in enumerate(splitter.split(classes, classes, groups)):
                fold_of_row[rows] = number
    if len(np.unique(fold_of_row)) < count:
        raise UserError(
            f"{setting}: {num_groups} training rows, or groups of rows, are too few for this number of folds with rows "
            "of each class; use fewer folds."
        )
    return fold_of_row


def select_fold(
    rows: pa.Table, groups: np.ndarray | None, fold: int, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Select one fold of the rows; a class with a single row stays out of it.

    Args:
        rows: examples.
        groups: a number for each row, (row); rows with the same number are in one fold. None: every row on its own.
        fold: its number, from 0.
        count: number of folds.
        seed: of the partition.

    Returns:
        The indices of the other rows and of the fold's, each in the file's order.

    Raises:
        UserError: there are too few rows, or groups of them.
    """
    classes = strata(rows)
    selected = assign_folds(classes, groups, count, seed, f"data.fold={fold}, one of {count}") == fold
    if groups is None:
        selected &= np.bincount(classes)[classes] > 1
    return np.flatnonzero(~selected), np.flatnonzero(selected)


def _select_rows(classes: np.ndarray, fraction: float, random: np.random.Generator) -> np.ndarray:
    """Select a fraction of the rows of each class, rounded to whole rows, as a mask, (row)."""
    count, shuffled = round(len(classes) * fraction), random.permutation(len(classes))
    selected = np.zeros(len(classes), dtype=bool)
    if not count:
        return selected
    # One row of each class stays in training, unless that would leave too few to select from.
    reserved = shuffled[np.unique(classes[shuffled], return_index=True)[1]]
    enough = len(classes) - len(reserved) >= count
    candidates = np.setdiff1d(shuffled, reserved) if enough else np.sort(shuffled)
    # Sort by class, the classes in random order and the rows of a class too; then select at equal distances. So each
    # class gives its fraction to within one row, and the total is exact.
    class_order = random.permutation(classes.max() + 1)[classes]
    order = candidates[np.lexsort((random.random(len(candidates)), class_order[candidates]))]
    steps = np.floor(np.arange(len(candidates) + 1) * (count / len(candidates)) + 0.5)
    selected[order] = np.diff(steps) > 0
    return selected


def _select_groups(classes: np.ndarray, groups: np.ndarray, fraction: float, random: np.random.Generator) -> np.ndarray:
    """Select groups in random order, each if it brings the class counts nearer to their targets, as a mask, (row)."""
    remaining = fraction * np.bincount(classes)
    selected = np.zeros(len(classes), dtype=bool)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    for number in random.permutation(len(members)):
        present, counts = np.unique(classes[members[number]], return_counts=True)
        # Equivalent to |remaining - counts|^2 < |remaining|^2: the squared distance to the targets falls.
        if (counts * (2 * remaining[present] - counts)).sum() > 0:
            remaining[present] -= counts
            selected[members[number]] = True
    # If every group is larger than its target, take the smallest one.
    if not selected.any() and len(members) > 1:
        selected[min(members, key=len)] = True
    return selected
