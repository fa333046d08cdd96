"""Which rows go together: batches of like length that stay fair to every label.

Random batches waste half of the work on padding (1.9 to 2.9 times the real tokens on short texts). Rows are therefore
sorted by length, inside pools of `POOL` batches of a fresh random order, and the batches shuffled. Where length goes
with the label that alone makes biased batches: on a spam data set the label share of a batch varied ten times as much
as it does at random. Sorting by *the rank of a row's length among the rows of its own label* gives every batch the
pool's label mix, and wastes more. So rows are sorted by a mean of both ranks, with the least weight on the second that
leaves label shares to vary about as they do at random (`weight_of_label`); where length says nothing of the label that
is none. `docs/benchmarks.md` has the counts. Where a batch then holds groups of different length,
`recipes.data.batching.cut_by_length` runs those as parts of one update, which changes nothing but the speed.

Each epoch sorts other pools, takes rows of one length in another order, and cuts between other rows: of 1,000 film
reviews, all in one pool, 54 % of the pairs that share a batch meet again in the next epoch (64 % without the last; at
random 3 %).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from recipes.data.batch import Batch
from recipes.data.encoding import Encoded

POOL = 100
# How much more than at random a label's share may vary between batches: a tenth, in standard deviations.
TOLERATED = 1.2
# On how many pools, and how finely (2**-6), the weight is found.
TRIAL_POOLS, TRIALS = 4, 6


class Batches(Sequence[Batch]):
    """The batches of one epoch, made when asked for.

    Args:
        dataset: where the rows stand.
        plan: the rows of each batch.
        epoch: which epoch this is.
    """

    def __init__(self, dataset: Encoded, plan: Sequence[np.ndarray], epoch: int) -> None:
        """Keep the plan; nothing is collated yet."""
        self.dataset, self.plan, self.epoch = dataset, plan, epoch

    def __len__(self) -> int:
        """Updates in the epoch."""
        return len(self.plan)

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]
        """Collate one batch."""
        return self.dataset.collate(self.plan[index], self.epoch, index)

    def since(self, index: int) -> Iterator[Batch]:
        """The batches from one on, for a resumed epoch."""
        for place in range(index, len(self)):
            yield self[place]


def group(
    lengths: np.ndarray, labels: np.ndarray, batch_size: int, weight: float, random: np.random.Generator
) -> list[np.ndarray]:
    """Deal rows into batches of like length that are fair to every label.

    Args:
        lengths: tokens of each row, (row).
        labels: class number, (row), or 0/1, (row, class), where rows of one label set count as one label.
        batch_size: rows to a batch; the last one may be smaller.
        weight: what `weight_of_label` finds for them.
        random: decides order, pools and ties.

    Returns:
        The rows of each batch.
    """
    sets = _sets(labels)
    order = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[_order(lengths[pool], sets[pool], weight, random)]
        batches += _cut(pool, batch_size, random)
    # The ragged batch stays last; the others come in any order, not from short to long.
    whole = [batch for batch in batches if len(batch) == batch_size]
    ragged = [batch for batch in batches if len(batch) < batch_size]
    return [whole[place] for place in random.permutation(len(whole))] + ragged


def _cut(rows: np.ndarray, batch_size: int, random: np.random.Generator) -> list[np.ndarray]:
    """Cut sorted rows into batches, not always between the same ones.

    The first batch so holds some of the longest rows beside the shortest, which are run as two parts. What is left over
    is taken anywhere, else it would always be of one length.
    """
    rows = np.roll(rows, int(random.integers(batch_size)))
    left = len(rows) % batch_size
    begin = int(random.integers(len(rows) - left + 1))
    whole = np.concatenate([rows[:begin], rows[begin + left :]])
    batches = [whole[start : start + batch_size] for start in range(0, len(whole), batch_size)]
    return [*batches, rows[begin : begin + left]] if left else batches


def weight_of_label(lengths: np.ndarray, labels: np.ndarray, batch_size: int) -> float:
    """How much the rank among the rows of the same label must count, 0 to 1, for batches that are fair to every label.

    Found by halving, on a sample of the rows: the least weight with which a label's share varies at most `TOLERATED`
    times as much between batches as it does between random ones.
    """
    random = np.random.default_rng(0)
    rows = random.permutation(len(lengths))[: TRIAL_POOLS * POOL * batch_size]
    pools = [rows[start : start + POOL * batch_size] for start in range(0, len(rows), POOL * batch_size)]
    sets = _sets(labels)

    def is_fair(weight: float) -> bool:
        plans = [pool[_order(lengths[pool], sets[pool], weight, random)] for pool in pools]
        return label_variance(labels, [each for plan in plans for each in _cut(plan, batch_size, random)]) <= TOLERATED

    if is_fair(0.0):
        return 0.0
    unfair, fair = 0.0, 1.0
    for _ in range(TRIALS):
        middle = (unfair + fair) / 2
        unfair, fair = (unfair, middle) if is_fair(middle) else (middle, fair)
    return fair


def label_variance(labels: np.ndarray, batches: Sequence[np.ndarray]) -> float:
    """How many times as much a label's share varies between batches as it does between random ones.

    That of the label for which it is most; where rows have several, how many they have counts as one more.

    Args:
        labels: class number, (row), or 0/1, (row, class).
        batches: the rows of each; those that are shorter than the first are left out.
    """
    size = len(batches[0])
    held = labels[np.stack([batch for batch in batches if len(batch) == size])]
    members = held if labels.ndim == 2 else held[..., None] == np.unique(held)
    members = np.concatenate([members, members.sum(-1, keepdims=True)], axis=-1)
    at_random = members.reshape(-1, members.shape[-1]).var(0) / size
    between = members.mean(1).var(0)[at_random > 0] / at_random[at_random > 0]
    return float(between.max(initial=0.0))


def _sets(labels: np.ndarray) -> np.ndarray:
    """A number for each different label, or set of labels, (row)."""
    return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)


def _order(lengths: np.ndarray, labels: np.ndarray, weight: float, random: np.random.Generator) -> np.ndarray:
    """The rows by length: `weight` parts by the rank among the rows of the same label, the rest by the plain one."""
    places = _rank(lengths, np.zeros(len(lengths)), random)
    if weight:
        places = weight * _rank(lengths, labels, random) + (1 - weight) * places
    return np.argsort(places, kind="stable")


def _rank(lengths: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Where in [0, 1) a row stands by length among the rows of its label."""
    by_label = np.lexsort((lengths, labels))
    _, starts, counts = np.unique(labels[by_label], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    place = np.empty(len(labels))
    place[by_label] = (rank + np.repeat(random.random(len(counts)), counts)) / np.repeat(counts, counts)
    return place


def by_length(lengths: np.ndarray, counts: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Batches for evaluation: longest first, so that what does not fit in memory shows at once.

    Args:
        lengths: tokens of each row, (row).
        counts: windows of each row, (row).
        batch_size: windows to a batch; those of its last row may be more.
    """
    order = np.argsort(-lengths, kind="stable")
    begun = (np.cumsum(counts[order]) - counts[order]) // batch_size
    return np.split(order, np.flatnonzero(np.diff(begun)) + 1) if len(order) else []


def padding_waste(lengths: np.ndarray, parts: Sequence[np.ndarray]) -> float:
    """Tokens computed over tokens real, 1 at best."""
    computed = sum(int(lengths[rows].max()) * len(rows) for rows in parts)
    return computed / sum(int(lengths[rows].sum()) for rows in parts)


def length_goes_with_label(lengths: np.ndarray, labels: np.ndarray) -> float:
    """How much of a row's length its label tells: the correlation ratio, 0 to 1 (|r| for two classes).

    Where rows have several labels, that of the label which tells most.
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
    """Cut a batch into parts of like length, where padding costs more than another pass does.

    The exact optimum over all cuts of the rows sorted by length: the padded tokens of every part plus
    `cost_of_pass` tokens for each.

    Args:
        lengths: tokens of each row, (row).
        cost_of_pass: what one more pass costs, in tokens.

    Returns:
        The rows of each part, longest part first; one part keeps the rows as they stood.
    """
    count = len(lengths)
    if count * int(lengths.max()) - int(lengths.sum()) <= cost_of_pass:
        return [np.arange(count)]
    order = np.argsort(-lengths, kind="stable")
    longest = lengths[order]
    cheapest = np.zeros(count + 1)
    start = np.zeros(count + 1, dtype=int)
    for end in range(1, count + 1):
        costs = cheapest[:end] + cost_of_pass + longest[:end] * (end - np.arange(end))
        start[end] = int(costs.argmin())
        cheapest[end] = costs[start[end]]
    cuts = [count]
    while cuts[-1]:
        cuts.append(int(start[cuts[-1]]))
    cuts.reverse()
    if len(cuts) == 2:
        return [np.arange(count)]
    return [np.sort(order[begin:end]) for begin, end in zip(cuts, cuts[1:], strict=False)]
