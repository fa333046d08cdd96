"""Mixup: train on mixtures of two examples, inputs and targets in the same proportion.

y = lambda * y_i + (1 - lambda) * y_j, with lambda ~ Beta(alpha, alpha). What becomes of the inputs, by level and mask:

- embedding, whole: x = lambda * x_i + (1 - lambda) * x_j on word vectors, 0 behind a text's end. The mixture attends to
  the longer of the two texts; positions and segments are those of the first, and behind its end those of the second.
- hidden, whole: the same on the states before one layer, drawn per batch; up to there each text sees itself alone.
- sentence, whole: the same on the pooled vectors, right before the head.
- embedding, span | fourier | saliency: some words of i give way to words of j; masks: `recipes/toolkit/mixing.py`.
- hidden, block: before the drawn layer blocks of the states of i give way to those of j at the same places.

Where tokens give way, length, segments and special tokens stay those of i, and lambda is the share of its words that is
really kept.

Source: Zhang, Cisse, Dauphin, Lopez-Paz 2018, arXiv 1710.09412; on word and pooled vectors Guo, Mao, Zhang 2019, arXiv
    1905.08941 (one lambda per batch there; one per row here, as in the first paper); hidden: manifold mixup, Verma et
    al. 2019, arXiv 1806.05236, and TMix, Chen et al. 2020, arXiv 2004.12239. Their code mixes the losses instead of the
    targets, which is the same wherever the loss is linear in the targets, as every loss here is. The masks were made
    for images: span, CutMix (Yun et al. 2019, arXiv 1905.04899), keeps one connected piece, a run for a rectangle;
    fourier, FMix (Harris et al. 2020, arXiv 2002.12047), keeps its noise, over tokens for pixels; block, hard PatchUp
    (Faramarzi et al. 2020, arXiv 2006.07794), keeps whole blocks, but tiles the text with them, and drops the second
    loss, on the part that stays. saliency is SSMix for text (Yoon et al. 2021, arXiv 2106.08062), where the share is
    fixed and the loss of the two unmixed texts is added; SaliencyMix (Uddin et al. 2020, arXiv 2006.01791), for
    images, keeps the piece at its place.
Cost: one pass, over rows as long as the longer of the two. level=sentence runs the partners too: two. level=hidden
    also runs rows and partners up to the drawn layer (block: the partners alone). mask=saliency: one more pass, over
    the whole batch at once however it is split later, without gradients of the weights. Processor time of 11 updates
    beside that without mixup (model=minilm data=pydocs, one thread): 1.0 for the others at the embedding level, 1.7
    saliency, 1.9 hidden, 1.6 block, 2.1 sentence.
Use when: labels are noisy or data is scarce. Avoid when: training is short; on pretrained encoders an independent
    study of 10 runs (xashru/mixup-text) found nothing.
Composes: plans in gradient/plan, for the whole batch, so that attacks and parts see one mixture; mixes in
    objective/mix, so that what compares passes compares the same mixture. The loss jitters: `cooldown` ends it early.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recipes import Batch, Loss, Outcome, Run, Trick, UserError, allowed
from recipes.models import anatomy, hidden_states, word_vectors
from recipes.toolkit import mixing

LAMBDA, LAYER, TAKEN = "mixup.lambda", "mixup.layer", "mixup.taken"

# The masks of each level, and why it has no others.
MASKS = {
    "embedding": ("whole | span | fourier | saliency", "blocks are of hidden states, span does it with words"),
    "hidden": ("whole | block", "the others choose words, and a hidden state holds more than its own word"),
    "sentence": ("whole", "one vector for a text has no tokens to choose from"),
}


@dataclass
class Mixup(Trick):
    """Mix words, word vectors, hidden states or pooled vectors, and with them the targets."""

    level: str = allowed("embedding | hidden | sentence")
    """Where in the model."""
    mask: str = allowed("whole | span | block | fourier | saliency")
    """Which tokens: all in one proportion, or some of them wholly."""
    alpha: float = allowed("(0, inf)")
    """Of Beta(alpha, alpha): small mixes little, 1 is uniform."""
    fraction: float = allowed("[0, 1]")
    """Of a batch's rows that are mixed."""
    warmup: float = allowed("[0, 1]")
    """Share of all updates at the start without mixing."""
    cooldown: float = allowed("[0, 1]")
    """Share of all updates at the end without mixing."""
    depths: list[float] = allowed("")
    """Shares of the layers that run before mixing, one drawn per batch; level=hidden reads them."""
    block: int = allowed("[1, inf)")
    """Tokens to a block; mask=block reads it."""

    slots = {"gradient": "plan", "objective": "mix"}
    neutral = {"fraction": 0.0}

    def __post_init__(self) -> None:
        """Refuse a mask that its level does not have, and depths behind the last layer."""
        super().__post_init__()
        masks, reason = MASKS[self.level]
        if self.mask not in masks.split(" | "):
            raise ValueError(f"mask must be one of {masks} at level={self.level}, got {self.mask}: {reason}.")
        if not self.depths or not all(0 <= depth < 1 for depth in self.depths):
            raise ValueError(f"depths must be a list of numbers in [0, 1), got {self.depths}.")

    def excludes(self) -> Mapping[str, str]:
        """Texts that are read in pieces have no words in common places, and no layer that sees all of them."""
        if self.level == "sentence":
            return {}
        why = f"texts read in pieces can only be mixed as a whole (tricks.{self.name}.level=sentence)"
        return {"model/reshape": why}

    def check(self, run: Run) -> Iterable[str]:
        """Rows without partners, and a stretch without mixing that is all of training."""
        if run.config.train.batch_size < 2:
            yield "train.batch_size=1 gives no row a partner, so nothing is mixed; train.batch_size=16."
        if self.warmup + self.cooldown >= 1:
            yield (
                f"tricks.{self.name}.warmup={self.warmup:g} and cooldown={self.cooldown:g} leave no update to mix in; "
                f"tricks.{self.name}.warmup=0.0."
            )

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Give every row its partner and its lambda; one with lambda 1 has none."""
        done = run.updates / run.total_updates
        if len(batch) < 2 or done < self.warmup or done >= 1 - self.cooldown:
            return inner(batch)
        draws = run.generator("mixup", batch)
        partner = draws.permutation(len(batch))
        lambdas = draws.beta(self.alpha, self.alpha, len(batch))
        lambdas[draws.random(len(batch)) >= self.fraction] = 1.0
        if (lambdas == 1.0).all():
            return inner(batch)
        decided: dict[str, Tensor] = {}
        if self.level == "hidden":
            decided[LAYER] = torch.full((len(batch),), self._layer(run, draws))
        if self.mask != "whole":
            source, lambdas = self._chosen(run, draws, batch, partner, lambdas)
            if self.level == "embedding":
                return inner(mixing.exchanged(batch, partner, source, lambdas))
            decided[TAKEN] = torch.from_numpy(source >= 0)
        planned = plan(batch, partner, lambdas)
        decided = {name: values.to(batch.weights.device) for name, values in decided.items()}
        return inner(replace(planned, carried={**planned.carried, **decided}))

    def _layer(self, run: Run, draws: np.random.Generator) -> int:
        """The number of the layer before which this batch is mixed."""
        try:
            count = len(anatomy.layers(run.bare_model))
        except ValueError as error:
            sentence = (
                f"tricks.{self.name}.level=hidden: {error}, before one of which to mix; take embedding or sentence."
            )
            raise UserError(sentence) from error
        # Rounded before it is cut: 0.58 of 50 layers are 29, though the product is a little less.
        return int(round(float(draws.choice(self.depths)) * count, 6))

    def _chosen(
        self, run: Run, draws: np.random.Generator, batch: Batch, partner: np.ndarray, lambdas: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where each token comes from (`mixing.chosen`), and the share of its words that a row really keeps."""
        tokens, real = (batch.inputs[name].cpu().numpy() for name in ("input_ids", "attention_mask"))
        words = (real == 1) & ~np.isin(tokens, run.tokenizer.all_special_ids)
        known = mixing.saliency(run, batch) if self.mask == "saliency" else np.zeros(words.shape)
        texts = [mixing.Text(np.flatnonzero(row), values) for row, values in zip(words, known, strict=True)]
        masks: dict[str, mixing.Mask] = {
            "span": mixing.span,
            "fourier": mixing.fourier,
            "saliency": mixing.salient,
            "block": partial(mixing.block, size=self.block),
        }
        return mixing.chosen(masks[self.mask], draws, texts, partner, lambdas)

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Run the mixture in place of the rows."""
        if batch.partners is None:
            return inner(batch)
        partners, lambdas = batch.partners, batch.carried[LAMBDA]
        mixed = {"embedding": self._embedding, "hidden": self._hidden, "sentence": self._sentence}[self.level]
        with mixed(run, batch, partners):
            if self.level != "sentence" and self.mask == "whole":
                return inner(mixing.mixture(batch, partners, lambdas))
            targets = mixing.mixed_targets(batch, partners, lambdas)
            return inner(replace(batch, targets=targets, partners=None))

    def _embedding(self, run: Run, batch: Batch, partners: Batch) -> AbstractContextManager[None]:
        vectors = word_vectors.of(run.bare_model, partners.inputs["input_ids"])

        def mix(own: Tensor) -> Tensor:
            masks = batch.inputs["attention_mask"], partners.inputs["attention_mask"]
            return mixing.mix_vectors(own, vectors, *masks, batch.carried[LAMBDA])

        return word_vectors.changed(run.bare_model, vectors.shape[1], mix)

    def _hidden(self, run: Run, batch: Batch, partners: Batch) -> AbstractContextManager[None]:
        number, stack = int(batch.carried[LAYER][0]), anatomy.layers(run.bare_model)

        def states_of(rows: Batch) -> Tensor:
            run.rows_passed += len(rows) * number / len(stack)
            return hidden_states.of(run.bare_model, stack[number], rows.inputs)

        def mix(states: Tensor) -> Tensor:
            behind = 0, states.shape[1] - batch.inputs["input_ids"].shape[1]  # what longformer adds
            if self.mask == "block":
                taken = functional.pad(batch.carried[TAKEN], behind)
                return torch.where(taken[..., None], states_of(partners), states)
            # The states at hand are of no use: they have seen the tokens of both texts.
            own, other = (functional.pad(rows.inputs["attention_mask"], behind) for rows in (batch, partners))
            return mixing.mix_vectors(states_of(batch), states_of(partners), own, other, batch.carried[LAMBDA])

        return hidden_states.changed(stack[number], mix)

    def _sentence(self, run: Run, batch: Batch, partners: Batch) -> AbstractContextManager[None]:
        def mix(own: Tensor) -> Tensor:
            run.rows_passed += len(batch)
            other = hidden_states.of(run.bare_model, run.head, partners.inputs)
            share = batch.carried[LAMBDA].to(own.dtype)[:, None]
            return share * own + (1 - share) * other

        return hidden_states.changed(run.head, mix)


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
