"""Choose the words of a mixture by their saliency and their neighbors, after Puzzle Mix and Co-Mixup.

Both are methods for images. Here words on a chain take the part of blocks on a grid. So the choice of one row is exact:
it is the best path along its words (`best_labels`). Saliency is a multiple of its text's mean, so that long and short
texts compete on equal terms.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

TINY = 1e-8
"""Added to a probability before its log, as in the official code of both."""
MOVING = 0.8
"""Price of moving a word over its partner's full length, relative to its total saliency: t_eps of Puzzle Mix."""
CAP, CROWDING = 0.83, 32.0
"""A text of which other mixtures use more than `CAP` texts costs `CROWDING` times that number a word.

The threshold of Co-Mixup's official code, and its 2 gamma for 4 x 4 blocks, at a mean saliency of 1.
"""
SWEEPS = 3
"""How often Co-Mixup chooses for each row; its authors have 4, or 3 where time is short."""


def relative_saliency(words: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Saliency as a multiple of the mean over the words of its text, (row, token); -inf at tokens that are no words.

    Args:
        words: whether a token is a word, (row, token).
        saliency: influence of each token on the loss, (row, token). A text without a usable mean has 1 everywhere.
    """
    values = np.where(words, saliency, 0.0).astype(np.float64)
    mean = values.sum(1, keepdims=True) / np.maximum(words.sum(1, keepdims=True), 1)
    is_usable = np.isfinite(mean) & (mean > 0)
    relative = np.divide(values, mean, out=np.ones_like(values), where=is_usable)
    return np.where(words, relative, -np.inf)


def best_labels(gains: np.ndarray, price: float) -> np.ndarray:
    """The labels along chains with the largest sum of gains, less a price for each change of label, (chain, link).

    Dynamic programming (Viterbi), exact.

    Args:
        gains: of each label, (chain, link, label); -inf forbids it. Each link needs a label that is allowed.
        price: of a change of label between neighbors, >= 0.
    """
    chains, links, _ = gains.shape
    # The best sum of a path that ends at a link with a label.
    best = np.array(gains, order="C")
    for link in range(1, links):
        before = best[:, link - 1]
        best[:, link] += np.maximum(before, before.max(1, keepdims=True) - price)
    stays = best >= best.max(2, keepdims=True) - price
    path: np.ndarray = best.argmax(2)
    for link in range(links - 2, -1, -1):
        after = path[:, link + 1]
        path[:, link] = np.where(stays[np.arange(chains), link, after], after, path[:, link])
    return path


def choose_by_pairs(
    words: np.ndarray,
    saliency: np.ndarray,
    partner: np.ndarray,
    lambdas: np.ndarray,
    *,
    smoothness: float,
    prior: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Puzzle Mix: in each row, give up the words for which the partner's words matter more.

    A row's choice has the largest sum of saliency over its words, less `smoothness` for each change of source, plus
    `prior` times the log of lambda for each own word, and of 1 - lambda for the partner's. Only where both texts have
    words at a position may one be given up. Then the most salient words of the partner move there (`transport`).

    Args:
        words: whether a token is a word, (row, token).
        saliency: influence of each token on the loss, (row, token).
        partner: index of each row's partner, (row).
        lambdas: prior fraction of its words that a row keeps, (row); at 1 it keeps all.
        smoothness: in mean saliencies.
        prior: in mean saliencies.

    Returns:
        The position in the partner that each token comes from, (row, token), or -1 for the row's own token; and the
        fraction of its words that each row does keep, (row).
    """
    relative = relative_saliency(words, saliency)
    log_prior = prior * np.log(np.stack([lambdas, 1 - lambdas], -1) + TINY)
    gains = np.stack([relative, relative[partner]], -1) + log_prior[:, None]
    # Other tokens have no source: a change costs the same before or after them.
    labels = best_labels(np.where(words[..., None], gains, 0.0), smoothness)
    is_mixed = (lambdas < 1) & (partner != np.arange(len(words)))
    gives_up = (labels == 1) & words & is_mixed[:, None]
    source = np.full(words.shape, -1)
    for row in np.flatnonzero(gives_up.any(1)):
        source[row, gives_up[row]] = transport(np.flatnonzero(gives_up[row]), relative[partner[row]])
    return source, 1 - gives_up.sum(1) / np.maximum(words.sum(1), 1)


def transport(leaving: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """The position that the new word of each position comes from: salient words, not from far away.

    Solves the assignment exactly: the largest sum of saliency, less the price of the squared distances.

    Args:
        leaving: positions to fill, (position).
        relative: saliency of the partner's tokens, (token); -inf at tokens that are no words.
    """
    words = np.flatnonzero(np.isfinite(relative))
    distance = (leaving[:, None] - words) / max(len(words) - 1, 1)
    _, columns = linear_sum_assignment(relative[words] - MOVING * len(words) * distance**2, maximize=True)
    arriving: np.ndarray = words[columns]
    return arriving


def choose_jointly(
    draws: np.random.Generator,
    words: np.ndarray,
    saliency: np.ndarray,
    is_mixed: np.ndarray,
    *,
    alpha: float,
    partners: int,
    smoothness: float,
    prior: float,
) -> np.ndarray:
    """Co-Mixup: each row takes words from any texts of the batch, at their positions, and avoids texts that others use.

    A row's choice has the largest sum of saliency over its words, less `smoothness` for each change of source, plus
    `prior` times the log of the text's probability, which is drawn, less the price of texts that other mixtures use
    much (`CAP`). Rows choose one after the other, again and again, given the others.

    Args:
        draws: random generator of the batch.
        words: whether a token is a word, (row, token).
        saliency: influence of each token on the loss, (row, token).
        is_mixed: the rows that choose, (row); the others keep their text.
        alpha: of the Dirichlet distribution of the texts' probabilities.
        partners: the most other texts in one row.
        smoothness: in mean saliencies.
        prior: in mean saliencies.

    Returns:
        The row that each word comes from, (row, token); at other tokens the row itself.
    """
    relative = relative_saliency(words, saliency)
    rows = np.arange(len(words))
    log_prior = prior * np.log(draws.dirichlet(np.full(len(rows), alpha)) + TINY)
    choosing = draws.permutation(np.flatnonzero(is_mixed & words.any(1)))
    texts = np.repeat(rows[:, None], words.shape[1], 1)
    # How much of each mixture comes from each text. Rows that have not chosen yet crowd nobody.
    usage = np.eye(len(rows))
    usage[choosing] = 0
    for _ in range(SWEEPS):
        for row in choosing:
            usage[row] = 0
            crowd = usage.sum(0)
            gains = relative[:, words[row]].T + log_prior - np.where(crowd > CAP, CROWDING * crowd, 0.0)
            sources = _best_texts(gains, row, partners, smoothness)
            texts[row, words[row]] = sources
            usage[row] = np.bincount(sources, minlength=len(rows)) / len(sources)
    return texts


def _best_texts(gains: np.ndarray, row: int, partners: int, price: float) -> np.ndarray:
    """The best text for each word, (word), from the row itself and no more partners than are allowed."""
    sources: np.ndarray = best_labels(gains[None], price)[0]
    others, counts = np.unique(sources[sources != row], return_counts=True)
    if len(others) <= partners:
        return sources
    most_used = np.append(row, others[np.argsort(-counts, kind="stable")[:partners]])
    sources = most_used[best_labels(gains[None, :, most_used], price)[0]]
    return sources
