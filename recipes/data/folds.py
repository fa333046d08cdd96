"""Parts of the training rows, each held out once."""

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
    """A part of a data set, for one run of several."""

    number: int
    splits: Splits
    held_out: np.ndarray | None
    """Places of its validation rows among the training rows of the whole; None where they are none of these."""


def folds(splits: Splits, count: int, seed: int, setting: str) -> Iterator[Part]:
    """Each part of the training rows beside the others, with equal class shares; what belongs together stays so.

    Args:
        splits: the whole.
        count: of the parts; 1 is all rows, judged by the whole's own validation split.
        seed: of what falls where.
        setting: the dotted path that says how many.

    Raises:
        UserError: there are too few rows, or groups of them.
    """
    apart = [*splits.hidden_splits().values(), *splits.excluded_rows]
    if count == 1:
        yield Part(1, replace(splits, test=None, extra={}, excluded_rows=apart), None)
        return
    rows, together = splits.train, belonging_together(splits)
    classes, groups = strata(rows.with_format("arrow")[:]), int(together.max()) + 1
    if np.bincount(classes).max() < count or groups < count:
        raise _too_few(f"{setting}={count}", groups)
    alone = groups == len(rows)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # its rows go to as many folds as they are
        places = list(splitter.split(classes, classes, None if alone else together))
    if not all(len(held) for _, held in places):
        raise _too_few(f"{setting}={count}", groups)
    for number, (rest, held) in enumerate(places, 1):
        part = replace(
            splits,
            train=rows.select(rest),
            validation=rows.select(held),
            test=None,
            extra={},
            groups=None if splits.groups is None else splits.groups[rest],
            excluded_rows=[splits.validation, *apart],
            is_fold=True,
        )
        yield Part(number, part, held)


def belonging_together(splits: Splits) -> np.ndarray:
    """A number for each training row, (row): equal where rows share a source or a group, or are linked by such rows."""
    _, sources = np.unique(splits.train["source"], return_inverse=True)
    if splits.groups is None:
        return sources
    _, groups = np.unique(splits.groups, return_inverse=True)
    count = int(sources.max()) + 1
    links = coo_array((np.ones(len(sources)), (sources, count + groups)), shape=(count + int(groups.max()) + 1,) * 2)
    _, linked = connected_components(links, directed=False)
    _, found = np.unique(linked[sources], return_inverse=True)
    return found


def _too_few(asked: str, there: int) -> UserError:
    return UserError(
        f"{asked}: {there} training rows, or groups of them, are too few for as many folds with "
        "rows of each class; take fewer folds."
    )
