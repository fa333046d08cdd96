"""Split the training rows into folds, each of which is the validation split once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from recipes.data.splits import Splits
from recipes.data.splitting import assign_folds, strata


@dataclass(frozen=True)
class Part:
    """The data of one run among several that divide a data set."""

    number: int
    """From 1."""
    splits: Splits
    held_out: np.ndarray | None
    """Indices of its validation rows among the training rows of the full data set; None if the validation split is the
    data set's own."""


def folds(splits: Splits, count: int, seed: int, setting: str) -> Iterator[Part]:
    """Divide the training rows into folds, stratified by label, with linked rows (`group_linked_rows`) in one fold.

    A fold never sees the data set's test, extra and validation splits: they become its `excluded_rows`.

    Args:
        splits: the full data set.
        count: number of folds; 1 is a single run on all training rows with the data set's own validation split.
        seed: of the shuffle.
        setting: the dotted path of `count`, for the message.

    Raises:
        UserError: there are too few rows, or groups of them.
    """
    hidden = [*splits.hidden_splits().values(), *splits.excluded_rows]
    if count == 1:
        yield Part(1, replace(splits, test=None, extra={}, excluded_rows=hidden), None)
        return
    rows, row_groups = splits.train, group_linked_rows(splits)
    classes, no_links = strata(rows.with_format("arrow")[:]), row_groups.max() + 1 == len(rows)
    fold_of_row = assign_folds(classes, None if no_links else row_groups, count, seed, f"{setting}={count}")
    for number in range(count):
        train, validation = np.flatnonzero(fold_of_row != number), np.flatnonzero(fold_of_row == number)
        fold = replace(
            splits,
            train=rows.select(train),
            validation=rows.select(validation),
            test=None,
            extra={},
            groups=None if splits.groups is None else splits.groups[train],
            excluded_rows=[splits.validation, *hidden],
            is_fold=True,
        )
        yield Part(number + 1, fold, validation)


def group_linked_rows(splits: Splits) -> np.ndarray:
    """Number the groups of training rows that must stay together, (row).

    Two rows are linked if they have the same source or the same group; links are transitive.
    """
    _, sources = np.unique(splits.train["source"], return_inverse=True)
    if splits.groups is None:
        return sources
    # Each row is an edge between its source and its group; the connected components are the groups.
    _, groups = np.unique(splits.groups, return_inverse=True)
    num_sources = int(sources.max()) + 1
    size = num_sources + int(groups.max()) + 1
    edges = coo_array((np.ones(len(sources)), (sources, num_sources + groups)), shape=(size, size))
    _, components = connected_components(edges, directed=False)
    _, numbers = np.unique(components[sources], return_inverse=True)
    return numbers
