"""Mix two rows: choose which words are exchanged, and mix word vectors, words and targets.

A mask is a function of a random generator, the two texts and the number of words to exchange. It returns the positions
that are replaced and, for each, the position in the partner that its new word comes from. It returns fewer positions if
the partner has too few words. Padding and special tokens are never exchanged.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from recipes.base import evaluating
from recipes.data.batch import Batch
from recipes.models import word_vectors
from recipes.runtime.transfer import send

if TYPE_CHECKING:
    from recipes.trick import Run

# The exponent of the frequency by which FMix damps its noise, as in the paper.
DECAY = 3
# Which text each word comes from: 1 is the row itself, 2 and on its partners; 0 is no word.
TEXT = "text of each word"


class Text(NamedTuple):
    """The part of a row that a mask reads."""

    positions: np.ndarray
    """Positions of its words, ascending, (word)."""
    saliency: np.ndarray
    """Influence of each token on the loss, (token); only `salient` reads it."""


Mask = Callable[[np.random.Generator, Text, Text, int], tuple[np.ndarray, np.ndarray]]


def span(draws: np.random.Generator, own: Text, other: Text, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Exchange one run of words, at the same positions in both texts."""
    common = np.intersect1d(own.positions, other.positions)
    start = draws.integers(max(0, len(common) - count) + 1)
    exchanged_positions = common[start : start + count]
    return exchanged_positions, exchanged_positions


def fourier(draws: np.random.Generator, own: Text, other: Text, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Exchange the words where low-frequency noise is highest: a few runs, at the same positions in both texts."""
    common = np.intersect1d(own.positions, other.positions)
    return _highest(slow_noise(draws, int(own.positions[-1]) + 1), common, count)


def block(draws: np.random.Generator, own: Text, other: Text, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Exchange random blocks of `size` tokens until there are enough words, at the same positions in both texts."""
    common = np.intersect1d(own.positions, other.positions)
    number = (np.arange(own.positions[-1] + 1) + draws.integers(size)) // size
    return _highest(draws.permutation(number[-1] + 1)[number], common, count)


def salient(draws: np.random.Generator, own: Text, other: Text, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Replace the run of words with the lowest saliency by the partner's run with the highest."""
    count = min(count, len(own.positions), len(other.positions))
    least, most = (np.convolve(text.saliency[text.positions], np.ones(count), "valid") for text in (own, other))
    leaving, arriving = int(least.argmin()), int(most.argmax())
    return own.positions[leaving : leaving + count], other.positions[arriving : arriving + count]


def slow_noise(draws: np.random.Generator, length: int) -> np.ndarray:
    """Draw noise whose amplitudes fall with 1 / frequency ** DECAY, (length)."""
    frequency = np.maximum(np.fft.rfftfreq(length), 1 / length)
    real, imaginary = draws.normal(size=(2, len(frequency)))
    return np.fft.irfft((real + 1j * imaginary) / frequency**DECAY, length)


def _highest(values: np.ndarray, positions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The positions with the highest values, ascending; the lower position wins a tie."""
    exchanged_positions = np.sort(positions[np.argsort(-values[positions], kind="stable")[:count]])
    return exchanged_positions, exchanged_positions


def choose_tokens(
    mask: Mask, draws: np.random.Generator, texts: Sequence[Text], partner: np.ndarray, lambdas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a mask to every row of a batch.

    Args:
        mask: chooses the words that are exchanged.
        draws: random generator of the batch.
        texts: the rows.
        partner: index of each row's partner, (row).
        lambdas: the fraction of its words that a row should keep, (row).

    Returns:
        The position in the partner that each token comes from, (row, token), or -1 for the row's own token; and the
        fraction of its words that each row does keep, (row).
    """
    source = np.full((len(texts), len(texts[0].saliency)), -1)
    own_fractions = np.ones(len(texts))
    for row, own in enumerate(texts):
        other, count = texts[partner[row]], round((1 - lambdas[row]) * len(own.positions))
        if count and len(other.positions) and other is not own:
            leaving, arriving = mask(draws, own, other, count)
            source[row, leaving] = arriving
            own_fractions[row] = 1 - len(leaving) / len(own.positions)
    return source, own_fractions


def exchange_tokens(batch: Batch, partner: np.ndarray, source: np.ndarray, own_fractions: np.ndarray) -> Batch:
    """Exchange words and mix the targets; the result has no partners.

    Args:
        batch: all rows of the update.
        partner: index of each row's partner, (row).
        source: position that each token comes from, (row, token), as `choose_tokens` returns it.
        own_fractions: the fraction of its own words that each row keeps, (row).
    """
    partners, positions = batch.reordered(partner), send(torch.from_numpy(source), batch.weights.device)
    partner_ids = partners.inputs["input_ids"].gather(1, positions.clamp(min=0))
    inputs = {**batch.inputs, "input_ids": torch.where(positions < 0, batch.inputs["input_ids"], partner_ids)}
    fraction = send(torch.from_numpy(own_fractions).to(batch.weights.dtype), batch.weights.device)
    return replace(mix_targets(batch, partners, fraction), inputs=inputs)


def carry_texts(batch: Batch, words: np.ndarray, texts: np.ndarray) -> Batch:
    """Add to each row the other rows that its words come from, as partners; `take_words` puts them in.

    Args:
        batch: all rows of the update.
        words: whether a token is a word, (row, token).
        texts: the row that each word comes from, (row, token).
    """
    numbers, partners = words.astype(np.int64), list[np.ndarray]()
    for row in range(len(batch)):
        for index, other in enumerate(other for other in np.unique(texts[row]) if other != row):
            if index == len(partners):
                partners.append(np.arange(len(batch)))
            partners[index][row] = other
            numbers[row, words[row] & (texts[row] == other)] = index + 2
    carried = {**batch.carried, TEXT: send(torch.from_numpy(numbers), batch.weights.device)}
    return replace(batch, partners=tuple(batch.reordered(each) for each in partners), carried=carried)


def take_words(batch: Batch) -> Batch:
    """Replace words by those of the partners at the same positions, and mix the targets by their numbers.

    Args:
        batch: rows that carry partners, as `carry_texts` adds them.
    """
    ids, targets, teacher, numbers = batch.inputs["input_ids"], batch.targets, batch.teacher, batch.carried[TEXT]
    count = (numbers > 0).sum(1).clamp(min=1)
    for number, partners in enumerate(batch.partners, 2):
        is_taken = numbers == number
        fraction = (is_taken.sum(1).to(targets.dtype) / count)[:, None]
        ids = torch.where(is_taken, partners.inputs["input_ids"], ids)
        targets = targets + fraction * (partners.targets - batch.targets)
        if teacher is not None and batch.teacher is not None and partners.teacher is not None:
            teacher = teacher + fraction * (partners.teacher - batch.teacher)
    inputs = {**batch.inputs, "input_ids": ids}
    return replace(batch, inputs=inputs, targets=targets, teacher=teacher, partners=())


def saliency(run: "Run", batch: Batch) -> np.ndarray:
    """Saliency of each token, (row, token): the norm of the loss's gradient in its word vector, without dropout."""
    leaves: list[Tensor] = []

    def watch(vectors: Tensor) -> Tensor:
        if leaves:  # GPT-2 also looks up the segments in the word embeddings
            return vectors
        leaves.append(vectors.detach().requires_grad_())
        return leaves[0]

    width = batch.inputs["input_ids"].shape[1]
    with evaluating(run.bare_model), torch.enable_grad(), word_vectors.modify(run.bare_model, width, watch):
        loss = run.seams.loss(run.bare_model(**batch.inputs).logits, batch.targets)
    run.rows_passed += len(batch)
    gradient_norms: np.ndarray = torch.autograd.grad(loss.sum(), leaves)[0].norm(dim=-1).cpu().numpy()
    return gradient_norms


def mix_vectors(own: Tensor, other: Tensor, own_mask: Tensor, other_mask: Tensor, lambdas: Tensor) -> Tensor:
    """Mix: lambda * own + (1 - lambda) * other, each 0 after the end of its text.

    Args:
        own: vectors of the row's tokens, (row, token, hidden).
        other: vectors of the partner's tokens, (row, token, hidden).
        own_mask: 1 on the row's tokens, (row, token).
        other_mask: 1 on the partner's tokens, (row, token).
        lambdas: weight of the row itself, (row).
    """
    fraction = lambdas.to(own.dtype)[:, None] * own_mask
    rest = (1 - lambdas).to(own.dtype)[:, None] * other_mask
    return fraction[..., None] * own + rest[..., None] * other


def mix_inputs(batch: Batch, partners: Batch, lambdas: Tensor) -> Batch:
    """The model inputs that go with mixed vectors: as long as the longer text, with mixed targets."""
    own = batch.inputs["attention_mask"].bool()
    # The partner's ids follow the end of the row: some models derive positions from the ids.
    inputs = {name: torch.where(own, values, partners.inputs[name]) for name, values in batch.inputs.items()}
    inputs["attention_mask"] = (own | partners.inputs["attention_mask"].bool()).to(batch.inputs["attention_mask"].dtype)
    return replace(mix_targets(batch, partners, lambdas), inputs=inputs, partners=())


def mix_targets(batch: Batch, partners: Batch, lambdas: Tensor) -> Batch:
    """The batch with mixed targets, and mixed probabilities of a teacher: lambda * own + (1 - lambda) * other."""
    fraction = lambdas[:, None]
    teacher = batch.teacher
    if teacher is not None and partners.teacher is not None:
        teacher = fraction * teacher + (1 - fraction) * partners.teacher
    return replace(batch, targets=fraction * batch.targets + (1 - fraction) * partners.targets, teacher=teacher)
