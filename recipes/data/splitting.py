"""Cut a split from the training rows, with labels and groups in mind."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from recipes.errors import UserError


def _has_lists(rows: pa.Table) -> bool:
    return bool(pa.types.is_list(rows["label"].type))


def _label_counts(rows: pa.Table) -> dict[str, int]:
    counts = pc.value_counts((pc.list_flatten(rows["label"]) if _has_lists(rows) else rows["label"]).drop_null())
    return {each["values"]: each["counts"] for each in counts.to_pylist()}


def label_counts(rows: Dataset) -> Counter[str]:
    """How many rows have each label, 0 where none has; a row with several labels counts for each."""
    return Counter(_label_counts(rows.with_format("arrow")[:]))


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
