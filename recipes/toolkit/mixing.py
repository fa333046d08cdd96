"""The arithmetic of mixing two rows: which words give way to which, and what becomes of vectors, words and targets.

A mask is a function of draws, the two texts and how many words to exchange. It gives the places that give way and, one
by one, the places in the partner whose words come there; fewer where the partner has too few. Padding and special
tokens are no words: they neither go nor come.
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

if TYPE_CHECKING:
    from recipes.trick import Run

# The power of the frequency by which FMix damps its noise, as in the paper.
DECAY = 3


class Text(NamedTuple):
    """What a mask may know of a row."""

    places: np.ndarray
    """Where its words stand, rising, (word)."""
    saliency: np.ndarray
    """How much each token matters to the loss, (token); read by `salient` only."""


Mask = Callable[[np.random.Generator, Text, Text, int], tuple[np.ndarray, np.ndarray]]


def span(draws: np.random.Generator, own: Text, other: Text, count: int) -> tuple[np.ndarray, np.ndarray]:
    """One run of words, at the same places in both texts."""
    common = np.intersect1d(own.places, other.places)
    start = draws.integers(max(0, len(common) - count) + 1)
    taken = common[start : start + count]
    return taken, taken


def fourier(draws: np.random.Generator, own: Text, other: Text, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The words where slow noise is highest: a few runs of unlike length, at the same places in both texts."""
    common = np.intersect1d(own.places, other.places)
    return _highest(slow_noise(draws, int(own.places[-1]) + 1), common, count)


def block(draws: np.random.Generator, own: Text, other: Text, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of `size` tokens, in any order until there are enough words, at the same places in both texts."""
    common = np.intersect1d(own.places, other.places)
    number = (np.arange(own.places[-1] + 1) + draws.integers(size)) // size
    return _highest(draws.permutation(number[-1] + 1)[number], common, count)


def salient(draws: np.random.Generator, own: Text, other: Text, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The run of words that matters least gives way to that of the partner which matters most."""
    count = min(count, len(own.places), len(other.places))
    least, most = (np.convolve(text.saliency[text.places], np.ones(count), "valid") for text in (own, other))
    gives, comes = int(least.argmin()), int(most.argmax())
    return own.places[gives : gives + count], other.places[comes : comes + count]


def slow_noise(draws: np.random.Generator, length: int) -> np.ndarray:
    """Noise whose waves weigh 1 / frequency ** DECAY, (length)."""
    frequency = np.maximum(np.fft.rfftfreq(length), 1 / length)
    real, imaginary = draws.normal(size=(2, len(frequency)))
    return np.fft.irfft((real + 1j * imaginary) / frequency**DECAY, length)


def _highest(values: np.ndarray, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The places with the highest values, rising; earlier ones where values are equal."""
    taken = np.sort(places[np.argsort(-values[places], kind="stable")[:count]])
    return taken, taken


def chosen(
    mask: Mask, draws: np.random.Generator, texts: Sequence[Text], partner: np.ndarray, lambdas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a mask to every row of a batch.

    Args:
        mask: which words are exchanged.
        draws: for the whole batch.
        texts: the rows.
        partner: the place of each row's partner, (row).
        lambdas: the share of its words that a row is to keep, (row).

    Returns:
        The place in the partner where each token comes from, (row, token), -1 where it is the row's own; and the share
        of its words that a row really keeps, (row).
    """
    source = np.full((len(texts), len(texts[0].saliency)), -1)
    kept = np.ones(len(texts))
    for row, own in enumerate(texts):
        other, count = texts[partner[row]], round((1 - lambdas[row]) * len(own.places))
        if count and len(other.places) and other is not own:
            gives, comes = mask(draws, own, other, count)
            source[row, gives] = comes
            kept[row] = 1 - len(gives) / len(own.places)
    return source, kept


def exchanged(batch: Batch, partner: np.ndarray, source: np.ndarray, kept: np.ndarray) -> Batch:
    """The rows with some words exchanged for those of their partners, and the mixed targets: nothing is left to mix.

    Args:
        batch: the whole update's rows.
        partner: the place of each row's partner, (row).
        source: what `chosen` found: where each token comes from, (row, token).
        kept: and the share of its words that a row keeps, (row).
    """
    partners, places = batch.reordered(partner), torch.from_numpy(source).to(batch.weights.device)
    come = partners.inputs["input_ids"].gather(1, places.clamp(min=0))
    inputs = {**batch.inputs, "input_ids": torch.where(places < 0, batch.inputs["input_ids"], come)}
    share = torch.from_numpy(kept).to(batch.weights)
    return replace(batch, inputs=inputs, targets=mixed_targets(batch, partners, share))


def saliency(run: "Run", batch: Batch) -> np.ndarray:
    """How much each token matters: the length of the loss's gradient in its word vector, without dropout."""
    leaves: list[Tensor] = []

    def watched(vectors: Tensor) -> Tensor:
        leaves.append(vectors.detach().requires_grad_())
        return leaves[0]

    width = batch.inputs["input_ids"].shape[1]
    with evaluating(run.bare_model), torch.enable_grad(), word_vectors.modify(run.bare_model, width, watched):
        loss = run.seams.loss(run.bare_model(**batch.inputs).logits, batch.targets)
    run.rows_passed += len(batch)
    found: np.ndarray = torch.autograd.grad(loss.sum(), leaves)[0].norm(dim=-1).cpu().numpy()
    return found


def mix_vectors(own: Tensor, other: Tensor, own_mask: Tensor, other_mask: Tensor, lambdas: Tensor) -> Tensor:
    """Mix: lambda * own + (1 - lambda) * other, each 0 behind its own end.

    Args:
        own: vectors of the row's tokens, (row, token, hidden).
        other: those of the partner's, (row, token, hidden).
        own_mask: 1 on the row's tokens, (row, token).
        other_mask: 1 on the partner's tokens, (row, token).
        lambdas: share of the row itself, (row).
    """
    share = lambdas.to(own.dtype)[:, None] * own_mask
    rest = (1 - lambdas).to(own.dtype)[:, None] * other_mask
    return share[..., None] * own + rest[..., None] * other


def mixture(batch: Batch, partners: Batch, lambdas: Tensor) -> Batch:
    """What the model is given with the mixed vectors: the longer of both texts, and the mixed targets."""
    own = batch.inputs["attention_mask"].bool()
    # Behind the row's own end stand the partner's ids, so that a model which counts positions by them counts on.
    inputs = {name: torch.where(own, values, partners.inputs[name]) for name, values in batch.inputs.items()}
    inputs["attention_mask"] = (own | partners.inputs["attention_mask"].bool()).to(batch.inputs["attention_mask"].dtype)
    return replace(batch, inputs=inputs, targets=mixed_targets(batch, partners, lambdas), partners=None)


def mixed_targets(batch: Batch, partners: Batch, lambdas: Tensor) -> Tensor:
    """Mix: lambda * own + (1 - lambda) * other, (row, class)."""
    share = lambdas[:, None]
    return share * batch.targets + (1 - share) * partners.targets
