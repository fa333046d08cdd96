"""Mixup: train on mixtures of two examples, word vectors and targets in the same proportion.

x = lambda * x_i + (1 - lambda) * x_j and y = lambda * y_i + (1 - lambda) * y_j, with lambda ~ Beta(alpha, alpha), x the
word vectors, 0 behind a text's end. The mixture attends to the longer of the two texts; positions and segments are
those of the first, and behind its end those of the second.

Source: Zhang, Cisse, Dauphin, Lopez-Paz 2018, arXiv 1710.09412; on word vectors Guo, Mao, Zhang 2019, arXiv 1905.08941
    (one lambda per batch there; one per row here, as in the first paper). Their code mixes the losses instead of the
    targets, which is the same wherever the loss is linear in the targets, as every loss here is.
Cost: one pass, over rows as long as the longer of the two.
Use when: labels are noisy or data is scarce. Avoid when: training is short; on pretrained encoders an independent
    study of 10 runs (xashru/mixup-text) found nothing.
Composes: plans in gradient/plan, for the whole batch, so that attacks and parts see one mixture; mixes in
    objective/mix, so that what compares passes compares the same mixture. The loss jitters: `cooldown` ends it early.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recipes import Batch, Loss, Outcome, Run, Trick, allowed, word_vectors

LAMBDA = "mixup.lambda"


@dataclass
class Mixup(Trick):
    """Mix word vectors and targets."""

    alpha: float = allowed("(0, inf)")
    """Of Beta(alpha, alpha): small mixes little, 1 is uniform."""
    share: float = allowed("[0, 1]")
    """Of a batch's rows that are mixed."""
    warmup: float = allowed("[0, 1]")
    """Share of all updates at the start without mixing."""
    cooldown: float = allowed("[0, 1]")
    """Share of all updates at the end without mixing."""

    layers = {"gradient": "plan", "objective": "mix"}
    neutral = {"share": 0.0}

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Give every row its partner and its lambda; one with lambda 1 has none."""
        done = run.updates / run.total_updates
        if len(batch) < 2 or done < self.warmup or done >= 1 - self.cooldown:
            return inner(batch)
        draws = run.generator("mixup", batch)
        partner = draws.permutation(len(batch))
        lambdas = draws.beta(self.alpha, self.alpha, len(batch))
        lambdas[draws.random(len(batch)) >= self.share] = 1.0
        return inner(plan(batch, partner, lambdas))

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Run the mixture in place of the rows."""
        if batch.partners is None:
            return inner(batch)
        partners = batch.partners
        vectors = word_vectors.of(run.bare_model, partners.inputs["input_ids"])

        def mix(own: Tensor) -> Tensor:
            masks = batch.inputs["attention_mask"], partners.inputs["attention_mask"]
            return mix_vectors(own, vectors, *masks, batch.carried[LAMBDA])

        with word_vectors.changed(run.bare_model, vectors.shape[1], mix):
            return inner(mixture(batch, partners, batch.carried[LAMBDA]))


def plan(batch: Batch, partner: np.ndarray, lambdas: np.ndarray) -> Batch:
    """The same batch, each row with the row that it is mixed with.

    Args:
        batch: the whole update's rows.
        partner: the place of each row's partner, (row).
        lambdas: the share of the row itself, (row); where it is 1 the row stays alone.
    """
    places = np.arange(len(batch))
    partners = batch.reordered(np.where(lambdas == 1.0, places, partner))
    share = torch.from_numpy(lambdas).to(batch.weights)
    lengths = torch.maximum(batch.lengths, partners.lengths)
    return replace(batch, partners=partners, lengths=lengths, carried={**batch.carried, LAMBDA: share})


def mix_vectors(own: Tensor, other: Tensor, own_mask: Tensor, other_mask: Tensor, lambdas: Tensor) -> Tensor:
    """Mix: lambda * own + (1 - lambda) * other, each 0 behind its own end.

    Args:
        own: word vectors, (row, token, hidden).
        other: the partners' word vectors, (row, token, hidden).
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
    share = lambdas[:, None]
    targets = share * batch.targets + (1 - share) * partners.targets
    return replace(batch, inputs=inputs, targets=targets, partners=None)
