"""Which rows go together: batches of like length that stay fair to every label.

Random batches waste half of the work on padding (1.9 to 2.9 times the real tokens on short texts). Rows are therefore
sorted by length, inside pools of `POOL` batches of a fresh random order, and the batches shuffled. Where length goes
with the label that makes biased batches: on a spam data set the label share of a batch varied nine times as much as it
does at random. `bias_of_sorting` foretells that from the training rows (`docs/benchmarks.md` sets it against what was
counted). From `TOLERATED` on, rows are sorted by *the rank of their length among the rows of their own label* instead:
every batch then has the pool's label mix, and still rows of about one length. Where the labels' lengths differ, such a
batch holds groups of different length; `recipes.batch.cut_by_length` runs those as parts of one update, which changes
nothing but the speed.

Each epoch sorts other pools, takes rows of one length in another order, and cuts between other rows: of 1,000 film
reviews, all in one pool, 54 % of the pairs that share a batch meet again in the next epoch (64 % without the last; at
random 3 %).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from recipes.batch import Batch
from recipes.encoding import Encoded

POOL = 100
# A tenth more standard deviation of a batch's label share than random batches have.
TOLERATED = 1.2
TENTHS = 10


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


def group(lengths: np.ndarray, labels: np.ndarray, batch_size: int, random: np.random.Generator) -> list[np.ndarray]:
    """Deal rows into batches of like length that are fair to every label.

    Args:
        lengths: tokens of each row, (row).
        labels: class number, (row), or 0/1, (row, class), where rows of one label set count as one label.
        batch_size: rows to a batch; the last one may be smaller.
        random: decides order, pools and ties.

    Returns:
        The rows of each batch.
    """
    sorting_is_fair = bias_of_sorting(lengths, labels, batch_size) < TOLERATED
    labels = labels if labels.ndim == 1 else np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    order = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        places = lengths[pool] if sorting_is_fair else _rank_within_label(lengths[pool], labels[pool], random)
        pool = pool[np.argsort(places, kind="stable")]
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


def _rank_within_label(lengths: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Where in [0, 1) a row stands by length among the rows of its label."""
    by_label = np.lexsort((lengths, labels))
    _, starts, counts = np.unique(labels[by_label], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    place = np.empty(len(labels))
    place[by_label] = (rank + np.repeat(random.random(len(counts)), counts)) / np.repeat(counts, counts)
    return place


def by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Batches for evaluation: longest first, so that what does not fit in memory shows at once."""
    order = np.argsort(-lengths, kind="stable")
    return [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]


def padding_waste(lengths: np.ndarray, parts: Sequence[np.ndarray]) -> float:
    """Tokens computed over tokens real, 1 at best."""
    computed = sum(int(lengths[rows].max()) * len(rows) for rows in parts)
    return computed / sum(int(lengths[rows].sum()) for rows in parts)


def bias_of_sorting(lengths: np.ndarray, labels: np.ndarray, batch_size: int) -> float:
    """How many times as much a batch's label share would vary as at random, were rows sorted by length.

    1 + (batch_size - 1) * r, r the share of the labels' variance between tenths of the rows by length (epsilon squared,
    which takes off what chance alone gives): the design effect of cluster samples (Kish 1965, Survey Sampling).

    Args:
        lengths: tokens of each row, (row).
        labels: class number, (row), or 0/1, (row, class).
        batch_size: rows to a batch.
    """
    count = len(lengths)
    tenth = np.searchsorted(np.sort(lengths), lengths) * TENTHS // count
    if labels.ndim == 1:
        labels = np.unique(labels, return_inverse=True)[1]
        classes = int(labels.max()) + 1
        held = np.bincount(tenth * classes + labels, minlength=TENTHS * classes).reshape(TENTHS, classes)
    else:
        held = np.stack([np.bincount(tenth, column, TENTHS) for column in labels.T], axis=1)
    rows = np.bincount(tenth, minlength=TENTHS)[:, None]
    share = held.sum(0) / count
    whole = count * float((share * (1 - share)).sum())
    chance = (np.count_nonzero(rows) - 1) / max(1, count - 1)
    if whole == 0 or chance >= 1:
        return 1.0
    between = float(((held - rows * share) ** 2 / np.maximum(1, rows)).sum()) / whole
    return 1 + (batch_size - 1) * max(0.0, (between - chance) / (1 - chance))


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
