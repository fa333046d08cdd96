"""Mixup: train on mixtures of two examples, inputs and targets in the same proportion.

y = lambda * y_i + (1 - lambda) * y_j, with lambda ~ Beta(alpha, alpha). The inputs are mixed by level and mask:

- embedding, whole: x = lambda * x_i + (1 - lambda) * x_j on word vectors, 0 after a text's end. Attention covers the
  longer text. Positions and segments come from the first text, and after its end from the second.
- hidden, whole: the same on the states before one layer, drawn per batch. Before it, each text attends to itself only.
- sentence, whole: the same on the pooled vectors, right before the head.
- embedding, span | fourier | saliency: words of j replace some words of i; masks: `recipes/toolkit/mixing.py`.
- embedding, puzzle | co: words are chosen by saliency and by their neighbors; masks: `recipes/toolkit/word_choice.py`.
  puzzle solves exactly which words of i are replaced, and moves salient words of j there. lambda is a prior. co takes
  words from up to `partners` texts of the batch, at their positions, and avoids texts that other rows already use.
- hidden, block: before the drawn layer, blocks of states of j replace those of i at the same positions.

If tokens are replaced, length, segments and special tokens stay those of i. A text's weight in the target is the
fraction of the words that come from it.

Source: Zhang, Cisse, Dauphin, Lopez-Paz 2018, arXiv 1710.09412; on word and pooled vectors: Guo, Mao, Zhang 2019, arXiv
    1905.08941 (one lambda per batch there; one per row here, as in the first paper); hidden: manifold mixup, Verma et
    al. 2019, arXiv 1806.05236, and TMix, Chen et al. 2020, arXiv 2004.12239. Their code mixes the losses instead of the
    targets; both are the same if the loss is linear in the targets, as every loss here is. Three masks come from
    images. span is CutMix (Yun et al. 2019, arXiv 1905.04899) with a run of words for the rectangle. fourier is FMix
    (Harris et al. 2020, arXiv 2002.12047) with its noise over tokens instead of pixels. block is hard PatchUp
    (Faramarzi et al. 2020, arXiv 2006.07794), but blocks tile the text, and the second loss, on the unchanged part, is
    dropped. saliency is SSMix for text (Yoon et al. 2021, arXiv 2106.08062), which fixes the fraction and adds the
    loss of the two unmixed texts. SaliencyMix (Uddin et al. 2020, arXiv 2006.01791), for images, does not move the
    part that it exchanges. puzzle and co are adaptations from images; no text version is published. The objectives
    are those of the official code (snu-mllab/PuzzleMix and snu-mllab/Co-Mixup). puzzle is Puzzle Mix (Kim, Choo, Song
    2020, arXiv 2009.06962) with two labels, without its term for similar neighbors; only the partner's words move. co
    is Co-Mixup (Kim, Choo, Jeong, Song 2021, arXiv 2102.03065) without its compatibility of texts and its half labels.
    It starts from no mixtures in place of random ones, and each row gives length and special tokens of one mixture. The
    official code also adds the loss of the unmixed rows, and takes 20 rows at a time; both are left out.
Cost: one pass, over rows as long as the longer of the two. level=sentence also runs the partners: two passes.
    level=hidden also runs rows and partners up to the drawn layer (block: only the partners). mask=saliency, puzzle or
    co: one more pass without gradients of the weights, over the full batch at once even if it is split later. CPU time
    of 11 updates relative to no mixup (model=minilm data=pydocs, one thread): 1.7 saliency, 1.0 for the others at the
    embedding level, 1.9 hidden, 1.6 block, 2.1 sentence; of 6 updates, 1.7 puzzle and 1.7 co. co carries three partner
    texts: 110 bytes for each token of a batch in place of 25, 0.22 MB for 32 rows of 64 tokens. Choosing takes 3 ms of
    a core for puzzle and 50 ms for co, for such a batch with random saliency.
Use when: labels are noisy or data is scarce. Avoid when: training is short; on pretrained encoders an independent
    study of 10 runs (xashru/mixup-text) found nothing. puzzle and co do not show here what their
    sources claim for images: -0.0313 ± 0.0245 and -0.0487 ± 0.0224 against no mixing, and saliency -0.0120 ± 0.0228
    (eda_trec, 500 rows, 300 updates of 16 rows, MiniLM, three seeds; docs/evidence/short_runs.md).
Composes: plans in gradient/plan, for the full batch, so that attacks and parts see the same mixture; mixes in
    objective/mix, so that tricks that compare passes see it too. The loss is noisy: `cooldown` stops mixing early.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recipes import Batch, Loss, Outcome, Run, Trick, allowed
from recipes.models import anatomy, hidden_states, word_vectors
from recipes.runtime.transfer import send
from recipes.toolkit import mixing, word_choice
from recipes.toolkit.requirements import require_layers, require_pooled_head

LAMBDA, LAYER, FROM_PARTNER = "mixup.lambda", "mixup.layer", "mixup.taken"

# The masks of each level, and why the others are refused.
MASKS = {
    "embedding": (
        "whole | span | fourier | saliency | puzzle | co",
        "block works on hidden states; span is its counterpart for words",
    ),
    "hidden": ("whole | block", "the others choose words, and a hidden state depends on more than its own word"),
    "sentence": ("whole", "one vector for a text has no tokens to choose from"),
}
BY_SALIENCY = ("saliency", "puzzle", "co")


@dataclass
class Mixup(Trick):
    """Mix words, word vectors, hidden states or pooled vectors, together with the targets."""

    level: str = allowed("embedding | hidden | sentence")
    """Where in the model."""
    mask: str = allowed("whole | span | block | fourier | saliency | puzzle | co")
    """Which tokens: all in one proportion, or some of them completely."""
    alpha: float = allowed(
        "(0, inf)",
        advised="[0.1, 2]",
        source="0.2 to 2 in the works on text, 0.1 to 0.4 in Zhang et al. 2018, arXiv 1710.09412",
        below="hardly any row is mixed",
        above="nearly all rows are mixed half and half, so the targets are never sure",
    )
    """Of Beta(alpha, alpha): small mixes little, 1 is uniform."""
    fraction: float = allowed("[0, 1]")
    """Of the rows of a batch that are mixed."""
    warmup: float = allowed("[0, 1]")
    """Fraction of all updates at the start without mixing."""
    cooldown: float = allowed("[0, 1]")
    """Fraction of all updates at the end without mixing."""
    depths: list[float] = allowed("")
    """Fractions of the layers that run before mixing, one drawn per batch; only level=hidden reads them."""
    block: int = allowed("[1, inf)")
    """Tokens per block; only mask=block reads it."""
    partners: int = allowed("[1, inf)")
    """The most other texts in one row; only mask=co reads it."""
    smoothness: float = allowed("[0, inf)")
    """Price of a change of source between two words, in mean saliencies; only mask=puzzle and co read it."""
    prior: float = allowed("[0, inf)")
    """Weight of the log of the drawn proportions, in mean saliencies; only mask=puzzle and co read it."""

    slots = {"gradient": "plan", "objective": "mix"}
    neutral = {"fraction": 0.0}

    def __post_init__(self) -> None:
        """Refuse a mask that the level does not have, and depths after the last layer."""
        super().__post_init__()
        masks, reason = MASKS[self.level]
        if self.mask not in masks.split(" | "):
            raise ValueError(f"mask must be one of {masks} at level={self.level}, got {self.mask}: {reason}.")
        if not self.depths or not all(0 <= depth < 1 for depth in self.depths):
            raise ValueError(f"depths must be a list of numbers in [0, 1), got {self.depths}.")
        drawn_layer = "at level=hidden each batch is mixed before a layer of its own"
        self.replays = drawn_layer if self.level == "hidden" else True
        self.passes = 1 + self._further_passes()

    def _further_passes(self) -> float:
        """Passes over the rows, or up to the drawn layer, next to that of the mixture."""
        if self.level == "hidden":
            texts = 1 if self.mask == "block" else 2
            return texts * sum(self.depths) / len(self.depths)
        return float(self.level == "sentence" or self.mask in BY_SALIENCY)

    def excludes(self) -> Mapping[str, str]:
        """Exclude tricks that change how tokens become one vector, unless these vectors are mixed."""
        if self.level == "sentence":
            return {}
        after = f"with tricks.{self.name}.level=sentence after it"
        return {"model/reshape": f"one changes how a text is pooled, the other mixes before pooling ({after})"}

    def prepare(self, run: Run) -> None:
        """Refuse a model that has nothing to mix at this level."""
        if not self.fraction:
            return
        setting = f"tricks.{self.name}.level={self.level}"
        if self.level == "sentence":
            require_pooled_head(run.bare_model, setting, "use embedding or hidden")
            return
        anatomy.require_one_stack(run.bare_model, setting)
        if self.level == "hidden":
            require_layers(run.bare_model, setting, "use embedding or sentence")

    def check(self, run: Run) -> Iterable[str]:
        """Warn if rows have no partners, or if no update is left for mixing."""
        if run.config.train.batch_size < 2:
            yield "train.batch_size=1 gives no row a partner, so nothing is mixed; train.batch_size=16."
        if self.warmup + self.cooldown >= 1:
            yield (
                f"tricks.{self.name}.warmup={self.warmup:g} and cooldown={self.cooldown:g} leave no update to mix in; "
                f"tricks.{self.name}.warmup=0.0."
            )

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Give every row a partner and a lambda; a row with lambda 1 is not mixed."""
        if len(batch) < 2 or not run.by_updates(lambda updates: self._mixes(updates / run.total_updates)):
            return inner(batch)
        draws = run.generator("mixup", batch)
        partner = draws.permutation(len(batch))
        lambdas = draws.beta(self.alpha, self.alpha, len(batch))
        lambdas[draws.random(len(batch)) >= self.fraction] = 1.0
        if (lambdas == 1.0).all():
            return inner(batch)
        if self.mask == "co":
            return inner(self._choose_texts(run, draws, batch, lambdas < 1))
        plans: dict[str, Tensor] = {}
        if self.level == "hidden":
            # On the CPU, where `_hidden` reads it.
            plans[LAYER] = torch.full((len(batch),), self._layer(run, draws))
        if self.mask != "whole":
            source, lambdas = self._choose_tokens(run, draws, batch, partner, lambdas)
            if self.level == "embedding":
                return inner(mixing.exchange_tokens(batch, partner, source, lambdas))
            plans[FROM_PARTNER] = send(torch.from_numpy(source >= 0), batch.weights.device)
        planned = plan(batch, partner, lambdas)
        return inner(replace(planned, carried={**planned.carried, **plans}))

    def _mixes(self, done: float) -> bool:
        """Whether rows are mixed after a fraction of all updates."""
        return self.warmup <= done < 1 - self.cooldown

    def _layer(self, run: Run, draws: np.random.Generator) -> int:
        """Draw the index of the layer before which this batch is mixed."""
        count = len(anatomy.layers(run.bare_model))
        # Round before truncating: 0.58 * 50 is a little less than 29.
        return int(round(float(draws.choice(self.depths)) * count, 6))

    def _choose_tokens(
        self, run: Run, draws: np.random.Generator, batch: Batch, partner: np.ndarray, lambdas: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where each token comes from (`mixing.choose_tokens`), and the fraction of its words that a row keeps."""
        words, saliency = self._weigh_words(run, batch)
        if self.mask == "puzzle":
            prices = {"smoothness": self.smoothness, "prior": self.prior}
            return word_choice.choose_by_pairs(words, saliency, partner, lambdas, **prices)
        texts = [mixing.Text(np.flatnonzero(row), values) for row, values in zip(words, saliency, strict=True)]
        masks: dict[str, mixing.Mask] = {
            "span": mixing.span,
            "fourier": mixing.fourier,
            "saliency": mixing.salient,
            "block": partial(mixing.block, size=self.block),
        }
        return mixing.choose_tokens(masks[self.mask], draws, texts, partner, lambdas)

    def _choose_texts(self, run: Run, draws: np.random.Generator, batch: Batch, is_mixed: np.ndarray) -> Batch:
        """Add to each row that is mixed the texts that its words come from."""
        words, saliency = self._weigh_words(run, batch)
        settings = {name: getattr(self, name) for name in ("alpha", "partners", "smoothness", "prior")}
        texts = word_choice.choose_jointly(draws, words, saliency, is_mixed, **settings)
        return mixing.carry_texts(batch, words, texts)

    def _weigh_words(self, run: Run, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Which tokens are words, (row, token), and their saliency, 0 where the mask reads none."""
        tokens, real = (batch.inputs[name].cpu().numpy() for name in ("input_ids", "attention_mask"))
        words = (real == 1) & ~np.isin(tokens, run.tokenizer.all_special_ids)
        return words, mixing.saliency(run, batch) if self.mask in BY_SALIENCY else np.zeros(words.shape)

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Run the mixture instead of the rows."""
        if not batch.partners:
            return inner(batch)
        if self.mask == "co":
            return inner(mixing.take_words(batch))
        (partners,), lambdas = batch.partners, batch.carried[LAMBDA]
        mix_level = {"embedding": self._embedding, "hidden": self._hidden, "sentence": self._sentence}[self.level]
        with mix_level(run, batch, partners):
            if self.level != "sentence" and self.mask == "whole":
                return inner(mixing.mix_inputs(batch, partners, lambdas))
            return inner(replace(mixing.mix_targets(batch, partners, lambdas), partners=()))

    def _embedding(self, run: Run, batch: Batch, partners: Batch) -> AbstractContextManager[None]:
        vectors = word_vectors.embed(run.bare_model, partners.inputs["input_ids"])

        def mix(own: Tensor) -> Tensor:
            masks = batch.inputs["attention_mask"], partners.inputs["attention_mask"]
            return mixing.mix_vectors(own, vectors, *masks, batch.carried[LAMBDA])

        return word_vectors.modify(run.bare_model, vectors.shape[1], mix)

    def _hidden(self, run: Run, batch: Batch, partners: Batch) -> AbstractContextManager[None]:
        number, stack = int(batch.carried[LAYER][0]), anatomy.layers(run.bare_model)
        tokens_first = anatomy.has_tokens_first(run.bare_model)

        def rows_first(states: Tensor) -> Tensor:
            return states.transpose(0, 1) if tokens_first else states

        def states_of(rows: Batch) -> Tensor:
            run.rows_passed += len(rows) * number / len(stack)
            return rows_first(hidden_states.capture(run.bare_model, stack[number], rows.inputs))

        def mix(states: Tensor) -> Tensor:
            behind = 0, states.shape[1] - batch.inputs["input_ids"].shape[1]  # what longformer adds
            if self.mask == "block":
                from_partner = functional.pad(batch.carried[FROM_PARTNER], behind)
                return torch.where(from_partner[..., None], states_of(partners), states)
            # These states come from the mixed inputs, so both texts must be run separately.
            own, other = (functional.pad(rows.inputs["attention_mask"], behind) for rows in (batch, partners))
            return mixing.mix_vectors(states_of(batch), states_of(partners), own, other, batch.carried[LAMBDA])

        return hidden_states.modify(stack[number], lambda states: rows_first(mix(rows_first(states))))

    def _sentence(self, run: Run, batch: Batch, partners: Batch) -> AbstractContextManager[None]:
        def mix(own: Tensor) -> Tensor:
            run.rows_passed += len(batch)
            other = hidden_states.capture(run.bare_model, run.head, partners.inputs)
            own_fraction = batch.carried[LAMBDA].to(own.dtype)[:, None]
            return own_fraction * own + (1 - own_fraction) * other

        return hidden_states.modify(run.head, mix)


def plan(batch: Batch, partner: np.ndarray, lambdas: np.ndarray) -> Batch:
    """Add to each row of a batch the row that it is mixed with.

    Args:
        batch: all rows of the update.
        partner: index of each row's partner, (row).
        lambdas: the weight of the row itself, (row); a row with weight 1 is not mixed.
    """
    indices = np.arange(len(batch))
    partners = batch.reordered(np.where(lambdas == 1.0, indices, partner))
    own_fraction = send(torch.from_numpy(lambdas).to(batch.weights.dtype), batch.weights.device)
    lengths = torch.maximum(batch.lengths, partners.lengths)
    return replace(batch, partners=(partners,), lengths=lengths, carried={**batch.carried, LAMBDA: own_fraction})
