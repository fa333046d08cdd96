"""Batches of rows of similar length that are fair to every label.

Random batches waste half of the work on padding: they compute 1.9 to 2.9 times the real tokens of short texts. Rows are
therefore sorted by length, inside pools of `POOL` batches of a fresh random order, and the batches are shuffled.

If length depends on the label, sorting by length alone makes biased batches: on a spam data set, the fraction of a
label varied ten times as much between batches as at random. Sorting by the rank of a row's length among the rows of
its own label gives every batch the label mix of the pool, but wastes more padding. So rows are sorted by a weighted
mean of both ranks. `weight_of_label` finds the smallest weight of the second rank with which label fractions vary about
as much as at random; if length is independent of the label, that is 0. `docs/benchmarks.md` has the counts.

Such a batch may contain groups of different length. `cut_by_length` runs them as parts of one update, which changes
nothing but the speed.

Each epoch sorts other pools, orders rows of equal length differently, and divides between other rows. Of 1,000 film
reviews, all in one pool, 54 % of the pairs in a batch meet again in the next epoch. It would be 64 % if the divisions
were always between the same rows, and 3 % at random.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from recipes.data.batch import Batch
from recipes.data.encoding import Encoded

POOL = 100
# The variance of a label's fraction between batches may be this many times that of random batches: a tenth more in
# standard deviations.
MAX_VARIANCE_RATIO = 1.2
# Pools from which the weight is estimated, and bisection steps, which give a resolution of 2**-6.
SAMPLE_POOLS, BISECTION_STEPS = 4, 6


class Batches(Sequence[Batch]):
    """The batches of one epoch, collated on access.

    Args:
        dataset: the encoded rows.
        plan: indices of the rows of each batch.
        epoch: number of the epoch.
    """

    def __init__(self, dataset: Encoded, plan: Sequence[np.ndarray], epoch: int) -> None:
        self.dataset, self.plan, self.epoch = dataset, plan, epoch

    def __len__(self) -> int:
        """Updates in the epoch."""
        return len(self.plan)

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]
        """Collate one batch."""
        return self.dataset.collate(self.plan[index], self.epoch, index)

    def since(self, index: int) -> Iterator[Batch]:
        """The batches from an index on, to resume an epoch."""
        for position in range(index, len(self)):
            yield self[position]


def group(
    lengths: np.ndarray, labels: np.ndarray, batch_size: int, weight: float, random: np.random.Generator
) -> list[np.ndarray]:
    """Group rows into batches of similar length that are fair to every label.

    Args:
        lengths: tokens of each row, (row).
        labels: class number, (row), or 0/1, (row, class); each different set of labels then counts as one label.
        batch_size: rows per batch; the last batch may be smaller.
        weight: as `weight_of_label` finds it for these rows.
        random: decides pools, ties and the order of the batches.

    Returns:
        Indices of the rows of each batch.
    """
    sets = _number_label_sets(labels)
    order = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[_sort_by_length(lengths[pool], sets[pool], weight, random)]
        batches += _divide(pool, batch_size, random)
    # The smaller batch stays last; the others are shuffled, so that they do not come from short to long.
    full = [batch for batch in batches if len(batch) == batch_size]
    smaller = [batch for batch in batches if len(batch) < batch_size]
    return [full[index] for index in random.permutation(len(full))] + smaller


def _divide(rows: np.ndarray, batch_size: int, random: np.random.Generator) -> list[np.ndarray]:
    """Divide sorted rows into batches, at different rows each time.

    Because of the rotation the first batch has some of the longest rows as well as the shortest; `cut_by_length` runs
    them as two parts. The smaller batch is taken from a random position, else it would always have the same length.
    """
    rows = np.roll(rows, int(random.integers(batch_size)))
    remainder = len(rows) % batch_size
    begin = int(random.integers(len(rows) - remainder + 1))
    divisible = np.concatenate([rows[:begin], rows[begin + remainder :]])
    batches = [divisible[start : start + batch_size] for start in range(0, len(divisible), batch_size)]
    return [*batches, rows[begin : begin + remainder]] if remainder else batches


def weight_of_label(lengths: np.ndarray, labels: np.ndarray, batch_size: int) -> float:
    """Find the weight of the rank among rows of the same label that makes batches fair to every label.

    It is the smallest weight with which `label_variance` is at most `MAX_VARIANCE_RATIO`, found by bisection on a
    sample of the rows.

    Args:
        lengths: tokens of each row, (row).
        labels: class number, (row), or 0/1, (row, class).
        batch_size: rows per batch.

    Returns:
        A number from 0 to 1.
    """
    random = np.random.default_rng(0)
    rows = random.permutation(len(lengths))[: SAMPLE_POOLS * POOL * batch_size]
    pools = [rows[start : start + POOL * batch_size] for start in range(0, len(rows), POOL * batch_size)]
    sets = _number_label_sets(labels)

    def is_fair(weight: float) -> bool:
        sorted_pools = [pool[_sort_by_length(lengths[pool], sets[pool], weight, random)] for pool in pools]
        batches = [batch for pool in sorted_pools for batch in _divide(pool, batch_size, random)]
        return label_variance(labels, batches) <= MAX_VARIANCE_RATIO

    if is_fair(0.0):
        return 0.0
    unfair, fair = 0.0, 1.0
    for _ in range(BISECTION_STEPS):
        middle = (unfair + fair) / 2
        unfair, fair = (unfair, middle) if is_fair(middle) else (middle, fair)
    return fair


def label_variance(labels: np.ndarray, batches: Sequence[np.ndarray]) -> float:
    """The variance of a label's fraction between batches, relative to that between random batches.

    Args:
        labels: class number, (row), or 0/1, (row, class).
        batches: indices of the rows of each; batches that are smaller than the first are left out.

    Returns:
        The largest ratio over the labels, and over the number of labels per row if it is multi-label.
    """
    size = len(batches[0])
    batch_labels = labels[np.stack([batch for batch in batches if len(batch) == size])]
    # (batch, row, class) of 0 and 1, with the number of labels as one more column.
    members = batch_labels if labels.ndim == 2 else batch_labels[..., None] == np.unique(batch_labels)
    members = np.concatenate([members, members.sum(-1, keepdims=True)], axis=-1)
    # The mean of `size` independent rows has the variance of one row over `size`.
    at_random = members.reshape(-1, members.shape[-1]).var(0) / size
    ratios = members.mean(1).var(0)[at_random > 0] / at_random[at_random > 0]
    return float(ratios.max(initial=0.0))


def _number_label_sets(labels: np.ndarray) -> np.ndarray:
    """Number the different labels, or sets of labels, (row)."""
    return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)


def _sort_by_length(lengths: np.ndarray, labels: np.ndarray, weight: float, random: np.random.Generator) -> np.ndarray:
    """Sort by a mean of two ranks by length: `weight` of that among rows of the same label, the rest of the overall."""
    ranks = _rank(lengths, np.zeros(len(lengths)), random)
    if weight:
        ranks = weight * _rank(lengths, labels, random) + (1 - weight) * ranks
    return np.argsort(ranks, kind="stable")


def _rank(lengths: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rank by length among the rows of the same label, scaled to [0, 1), (row).

    Each label's ranks are shifted by one random number, else the first rows of all labels would tie at 0.
    """
    by_label = np.lexsort((lengths, labels))
    _, starts, counts = np.unique(labels[by_label], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    scaled = np.empty(len(labels))
    scaled[by_label] = (rank + np.repeat(random.random(len(counts)), counts)) / np.repeat(counts, counts)
    return scaled


def by_length(lengths: np.ndarray, counts: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Group rows into batches for evaluation, longest first, so that running out of memory shows at once.

    Args:
        lengths: tokens of each row, (row).
        counts: windows of each row, (row).
        batch_size: windows per batch; the last row of a batch may exceed it.

    Returns:
        Indices of the rows of each batch.
    """
    order = np.argsort(-lengths, kind="stable")
    return _cut(order, counts, batch_size)


def _cut(rows: np.ndarray, counts: np.ndarray, batch_size: int) -> list[np.ndarray]:
    # A row belongs to the batch in which its first window falls.
    batch_numbers = (np.cumsum(counts[rows]) - counts[rows]) // batch_size
    return np.split(rows, np.flatnonzero(np.diff(batch_numbers)) + 1) if len(rows) else []


def by_cost(lengths: np.ndarray, counts: np.ndarray, most_tokens: int, cost_of_pass: float) -> list[np.ndarray]:
    """Group rows into the batches that cost least to predict, longest first.

    As `cut_by_length` weighs padding against passes, over all rows: only rows of different lengths are worth cutting
    apart, so that the optimum is found over the lengths that occur.

    Args:
        lengths: tokens of each row, (row).
        counts: windows of each row, (row), of about the same length.
        most_tokens: tokens per batch, padding included; the last row of a batch may exceed it.
        cost_of_pass: cost of one more pass, in tokens.

    Returns:
        Indices of the rows of each batch.
    """
    widths = -(-lengths // counts)
    order = np.argsort(-widths, kind="stable")
    starts = np.flatnonzero(np.diff(widths[order], prepend=-1))
    widest = widths[order][starts]
    windows = np.concatenate([[0], np.cumsum(counts[order])])[[*starts, len(order)]]
    batches: list[np.ndarray] = []
    for begin, end in pairwise(_cheapest_cuts(widest, windows, cost_of_pass)):
        part = order[starts[begin] : starts[end] if end < len(starts) else None]
        batches += _cut(part, counts, max(1, most_tokens // int(widest[begin])))
    return batches


def padding_waste(lengths: np.ndarray, parts: Sequence[np.ndarray]) -> float:
    """The ratio of computed tokens, with padding, to real tokens; 1 at best.

    Args:
        lengths: tokens of each row, (row).
        parts: indices of the rows of each pass.
    """
    computed = sum(int(lengths[rows].max()) * len(rows) for rows in parts)
    return computed / sum(int(lengths[rows].sum()) for rows in parts)


def length_goes_with_label(lengths: np.ndarray, labels: np.ndarray) -> float:
    """How strongly a row's length depends on its label: the correlation ratio, 0 to 1 (|r| for two classes).

    If it is multi-label, that of the label with the largest ratio.

    Args:
        lengths: tokens of each row, (row).
        labels: class number, (row), or 0/1, (row, class).
    """
    if labels.ndim == 2:
        return max(length_goes_with_label(lengths, column) for column in labels.T)
    total = float(((lengths - lengths.mean()) ** 2).sum())
    if total == 0:
        return 0.0
    _, number = np.unique(labels, return_inverse=True)
    counts = np.bincount(number)
    means = np.bincount(number, lengths) / counts
    return float(np.sqrt((counts * (means - lengths.mean()) ** 2).sum() / total))


def cut_by_length(lengths: np.ndarray, cost_of_pass: float) -> list[np.ndarray]:
    """Cut a batch into parts of similar length, where padding costs more than another pass.

    Dynamic programming over the rows sorted by length finds the exact optimum: the padded tokens of all parts plus
    `cost_of_pass` tokens per part are minimal.

    Args:
        lengths: tokens of each row, (row).
        cost_of_pass: cost of one more pass, in tokens.

    Returns:
        Indices of the rows of each part, the longest part first; within a part the order of the rows is unchanged.
    """
    count = len(lengths)
    # Cutting cannot save more than the padding of the uncut batch.
    if count * int(lengths.max()) - int(lengths.sum()) <= cost_of_pass:
        return [np.arange(count)]
    order = np.argsort(-lengths, kind="stable")
    longest = lengths[order]
    cuts = _cheapest_cuts(longest, np.arange(count + 1), cost_of_pass)
    if len(cuts) == 2:
        return [np.arange(count)]
    return [np.sort(order[begin:end]) for begin, end in pairwise(cuts)]


def _cheapest_cuts(widths: np.ndarray, before: np.ndarray, cost_of_pass: float) -> list[int]:
    """Where to cut groups of rows, from the widest on, so that padded tokens and passes cost least.

    Args:
        widths: of the rows of each group, (group).
        before: rows before each group, and all of them, (group + 1).
        cost_of_pass: cost of one more pass, in tokens.

    Returns:
        The first group of each part, and the number of groups.
    """
    count = len(widths)
    # For the first `end` groups: the least cost, and where the last part of that solution starts.
    cheapest = np.zeros(count + 1)
    start = np.zeros(count + 1, dtype=int)
    for end in range(1, count + 1):
        costs = cheapest[:end] + cost_of_pass + widths[:end] * (before[end] - before[:end])
        start[end] = int(costs.argmin())
        cheapest[end] = costs[start[end]]
    # Follow the starts back from the last group.
    cuts = [count]
    while cuts[-1]:
        cuts.append(int(start[cuts[-1]]))
    return cuts[::-1]
