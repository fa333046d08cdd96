"""MLM: before training, go on with masked-language training on the texts of the task.

Each token, except special ones, is chosen with `probability`. Of the chosen ones 80 % are masked, 10 % become a random
token and 10 % stay; the loss is the cross-entropy of what they were. Texts are the training texts and those of `file`,
cut to data.max_length, each text once. The head comes with the model's files. If they have none, as those of sentence
encoders (minilm, e5, mpnet), a new one is trained, and the header says so.

Source: Gururangan et al. 2020, Don't Stop Pretraining, arXiv 2004.10964: the task's own texts are TAPT, more texts of
    the domain DAPT. Masking: Devlin et al. 2018, arXiv 1810.04805.
Cost: `epochs` passes over the texts, at most `max_updates` updates, before the first update; `passes_per_update` in
    metrics.json counts them. The result is cached.
Use when: texts differ from those of pretraining, and many have no label. Avoid when: the encoder was trained for
    sentence vectors (minilm, e5, mpnet), which a new head may spoil. It is not shown to help here: with MiniLM
    and 500 rows of TREC the accuracy moved by -0.0107 ± 0.0115, with 100 rows by -0.0113 ± 0.0398 (three seeds;
    docs/evidence/short_runs.md). An encoder with a masked-language-model head, and further texts, were not measured.
Composes: pretrain/language, before `contrastive`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recipes import Run, Trick, UserError, allowed
from recipes.base import PredictionBase
from recipes.data.batching import group
from recipes.data.encoding import encode
from recipes.data.unlabelled import leave_out_evaluated, read_unlabelled
from recipes.models.inputs import fixed_width
from recipes.models.masked_head import add_masked_head, predict_tokens, require_masked_head
from recipes.runtime.randomness import generator, key
from recipes.runtime.transfer import send
from recipes.toolkit.leaks import note_unread_test
from recipes.toolkit.pretraining import Stage, train_stage

MASKED, RANDOM = 0.8, 0.1
"""Fractions of the chosen tokens that are masked, and that become another token."""


@dataclass
class Mlm(Trick):
    """Train the encoder to predict masked tokens."""

    file: str | None = allowed("")
    """More texts without labels."""
    epochs: float = allowed(
        "[0, inf)",
        advised="[0, 100]",
        source="100 in Gururangan et al. 2020, arXiv 2004.10964",
        above="the stage takes longer than the training after it",
    )
    """Passes over the texts; 0: off."""
    max_updates: int | None = allowed("[1, inf)")
    """The most updates of the stage; null: as many as the epochs need."""
    batch_size: int = allowed("[1, inf)")
    """Texts of an update."""
    learning_rate: float = allowed(
        "(0, inf)",
        advised="[1e-5, 5e-4]",
        source="1e-4 in Gururangan et al. 2020, arXiv 2004.10964",
        above="the encoder forgets its pretraining",
        below="the encoder hardly changes",
    )
    """The highest learning rate."""
    warmup: float = allowed("[0, 1]")
    """Fraction of the updates over which the learning rate rises."""
    probability: float = allowed(
        "(0, 1)",
        advised="[0.1, 0.4]",
        source="0.15 in Devlin et al. 2018, arXiv 1810.04805; 0.4 in Wettig et al. 2022, arXiv 2202.08005",
        above="too few tokens are left to predict the others from",
    )
    """Probability of each token to be predicted."""

    slots = {"pretrain": "language"}
    control = "train_longer"
    neutral = {"epochs": 0.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.texts: Dataset | None = None

    def prepare(self, run: Run) -> None:
        """Read the texts, and refuse a model that cannot predict masked tokens."""
        if not self.epochs:
            return
        setting = f"tricks.{self.name}"
        if run.tokenizer.mask_token_id is None:
            raise UserError(
                f"{setting}: the tokenizer has no mask token; leave {self.name} out, or take an "
                "encoder that was pretrained with one, such as model=bert."
            )
        require_masked_head(cast(PreTrainedModel, run.bare_model), run.config.model, setting)
        self.texts = self._read_texts(run)

    def pretrain(self, run: Run, inner: Callable[[], None]) -> None:
        """Train on the texts; the classifier keeps the encoder, and the masked head is dropped."""
        inner()
        if self.texts is None:
            return
        torch.manual_seed(key(run.config.seeds.init, self.name))
        model, is_new = add_masked_head(cast(PreTrainedModel, run.bare_model), run.config.model)
        if is_new:
            run.say(f"{self.name}: the model's files have no masked-language-model head, so a new one is trained.")
        width = fixed_width(run.bare_model)
        cache_key = [self.name, run.max_length]
        rows = encode(self.texts, PredictionBase(run).encode, run.tokenizer, run.classes, cache_key, width)
        no_labels = np.zeros(len(rows), dtype=np.int64)

        def plan(epoch: int) -> list[np.ndarray]:
            random = generator(run.config.seeds.order, self.name, "order", epoch)
            return group(rows.lengths, no_labels, self.batch_size, 0.0, random)

        def loss(indices: np.ndarray, epoch: int, index: int) -> Tensor:
            inputs = rows.pad(indices)
            random = generator(run.config.seed, self.name, epoch, index)
            masked, positions = mask_tokens(inputs["input_ids"], run.tokenizer, self.probability, random)
            targets = send(inputs["input_ids"][positions], run.accelerator.device)
            moved = {name: send(values, run.accelerator.device) for name, values in inputs.items()}
            moved["input_ids"] = send(masked, run.accelerator.device)
            logits = predict_tokens(model, moved, send(positions, run.accelerator.device))
            return functional.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets)

        content = [rows.offsets.tolist(), *(each.tolist() for each in rows.columns.values())]
        length = self.epochs, self.max_updates
        train_stage(run, Stage(self, model, plan, loss, *length, content, self.learning_rate, self.warmup))

    def _read_texts(self, run: Run) -> Dataset:
        """The training texts and those of the file, cleaned, each once, and none that the run is evaluated on."""
        rows = run.clean_rows(run.splits.train)
        if self.file is None:
            return leave_out_evaluated(rows, run.splits, run.clean_rows)
        setting = f"tricks.{self.name}.file"
        read, notes = read_unlabelled(self.file, setting, run.config.data, run.classes)
        for note in notes:
            run.note(note)
        more = run.clean_rows(read)
        remaining = leave_out_evaluated(more, run.splits, run.clean_rows)
        if not len(remaining):
            raise UserError(
                f"{setting}={self.file}: each of its {len(more):,} texts is in validation or test; give other texts."
            )
        if missing := len(more) - len(remaining):
            run.note(
                f"{self.name}: {missing:,} of the {len(more):,} texts of {self.file} are left out: they repeat one "
                "another, or are in validation or test, whose texts no training may read."
            )
        note_unread_test(run, self.name)
        unlabelled = Dataset.from_dict({**remaining.to_dict(), "label": [None] * len(remaining)}, rows.features)
        return leave_out_evaluated(concatenate_datasets([rows, unlabelled]), run.splits, run.clean_rows)


def mask_tokens(
    ids: Tensor, tokenizer: PreTrainedTokenizerBase, probability: float, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Choose tokens, and mask them.

    Args:
        ids: (row, token).
        tokenizer: names the special tokens, which are never chosen, and the mask token.
        probability: of each token to be chosen.
        random: of all draws.

    Returns:
        The masked ids, and which tokens were chosen, both (row, token). At least one token is chosen.
    """
    original = ids.numpy()
    can_be_chosen = ~np.isin(original, tokenizer.all_special_ids)
    if not can_be_chosen.any():  # a batch of empty texts
        can_be_chosen = original == original
    draws = np.where(can_be_chosen, random.random(original.shape), 1.0)
    positions = (draws < probability) & can_be_chosen | (draws == draws.min())
    kind = random.random(original.shape)
    others = random.integers(len(tokenizer), size=original.shape)
    replaced = np.where(kind < MASKED, tokenizer.mask_token_id, np.where(kind < MASKED + RANDOM, others, original))
    return torch.from_numpy(np.where(positions, replaced, original)), torch.from_numpy(positions)
