"""Split the training rows into folds, each of which is the validation split once."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from recipes.data.splits import Splits
from recipes.data.splitting import strata
from recipes.errors import UserError


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
    classes, num_groups = strata(rows.with_format("arrow")[:]), int(row_groups.max()) + 1
    if np.bincount(classes).max() < count or num_groups < count:
        raise _too_few(f"{setting}={count}", num_groups)
    no_links = num_groups == len(rows)
    splitter = (StratifiedKFold if no_links else StratifiedGroupKFold)(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer rows than folds is allowed: its rows go to as many folds as there are rows.
        warnings.filterwarnings("ignore", "The least populated class")
        row_indices = list(splitter.split(classes, classes, None if no_links else row_groups))
    if not all(len(validation) for _, validation in row_indices):
        raise _too_few(f"{setting}={count}", num_groups)
    for number, (train, validation) in enumerate(row_indices, 1):
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
        yield Part(number, fold, validation)


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


def _too_few(setting: str, num_groups: int) -> UserError:
    return UserError(
        f"{setting}: {num_groups} training rows, or groups of rows, are too few for this number of folds with rows of "
        "each class; use fewer folds."
    )
