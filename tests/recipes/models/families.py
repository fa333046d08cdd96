"""A tiny random model of every family, and the trick `mixup` on it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers import models as tokenizer_models
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, PreTrainedTokenizerBase

from recipes.config import Model
from recipes.data.batch import Batch, Outcome
from recipes.data.encoding import encode
from recipes.models.anatomy import head, pooled_vectors
from recipes.models.loading import load_model, load_tokenizer
from tests.sampling import only
from tricks.in_training.mixup import Mixup, plan

LETTERS = [chr(ord("a") + index) for index in range(26)]
CHARACTERS = [*LETTERS, *map(str, range(10))]
TEXTS = ["a cab", "zebra 12 crossing the road", "no", "seven quick foxes", "what is 3 and 4", "end"]
CLASSES = ["left", "right", "up"]
WIDTH = 32
NOTHING: Mapping[str, Tensor] = {}


def wordpieces(*special: str) -> dict[str, int]:
    continuations = [f"##{character}" for character in CHARACTERS]
    return {token: number for number, token in enumerate([*special, *CHARACTERS, *continuations])}


def unigrams(*special: str) -> list[tuple[str, float]]:
    return [*((token, 0.0) for token in special), ("▁", -2.0), *((character, -3.0) for character in CHARACTERS)]


def byte_tokens(*special: str) -> dict[str, int]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return {token: number for number, token in enumerate([*special, *alphabet])}


def modernbert_tokenizer() -> PreTrainedTokenizerBase:
    vocabulary = byte_tokens("[PAD]", "[CLS]", "[SEP]", "[UNK]")
    backend = Tokenizer(tokenizer_models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "attention_mask"],
    )


BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
FAMILIES: Mapping[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "bert": (lambda: transformers.BertTokenizer(vocab=wordpieces(*BERT)), {}),
    "roberta": (lambda: transformers.RobertaTokenizer(vocab=byte_tokens(*ROBERTA), merges=[]), {}),
    "distilbert": (
        lambda: transformers.DistilBertTokenizer(vocab=wordpieces(*BERT)),
        {"dim": WIDTH, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    ),
    "deberta-v2": (
        lambda: transformers.DebertaV2Tokenizer(vocab=unigrams("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")),
        # The settings of deberta-v3.
        {
            "relative_attention": True,
            "position_biased_input": False,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "type_vocab_size": 0,
        },
    ),
    "modernbert": (
        modernbert_tokenizer,
        {
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "cls_token_id": 1,
            "bos_token_id": 1,
            "sep_token_id": 2,
            "eos_token_id": 2,
        },
    ),
    "longformer": (
        lambda: transformers.LongformerTokenizer(vocab=byte_tokens(*ROBERTA), merges=[]),
        {"attention_window": 16},
    ),
    "xlm-roberta": (lambda: transformers.XLMRobertaTokenizer(vocab=unigrams(*ROBERTA)), {}),
    "electra": (lambda: transformers.ElectraTokenizer(vocab=wordpieces(*BERT)), {"embedding_size": WIDTH}),
    "mpnet": (
        lambda: transformers.MPNetTokenizer(vocab=wordpieces("<s>", "<pad>", "</s>", "[UNK]", "<unk>", "<mask>")),
        {},
    ),
}
# With and without token types, relative positions, and the newest; the others run in `make slow`.
FAST_FAMILIES = ("bert", "roberta", "deberta-v2", "modernbert")
FAMILY = pytest.mark.parametrize("family", only(FAST_FAMILIES, FAMILIES))
COUNTING_FROM_PADDING = ("roberta", "longformer", "xlm-roberta", "mpnet")


def config_of(
    family: str, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]
) -> transformers.PretrainedConfig:
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
    }
    if "dim" in options:  # distilbert's own names
        sizes = {"max_position_embeddings": 66}
    return AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
        **{**sizes, **options},
    )


def settings(name: str, dropout: float | None = None, checkpointing: bool = False) -> Model:
    return Model(source="hub", name=name, dropout=dropout, gradient_checkpointing=checkpointing, trim_vocabulary=False)


def load_classifier(
    name: str, dropout: float | None = None, checkpointing: bool = False, multi_label: bool = False
) -> nn.Module:
    model_settings = settings(name, dropout, checkpointing)
    torch.manual_seed(1)
    return load_model(model_settings, load_tokenizer(model_settings, []), CLASSES, multi_label)


def batch_of(folder: str, texts: list[str] = TEXTS) -> Batch:
    tokenizer = load_tokenizer(settings(folder), [])
    ids, empty = [str(row) for row in range(len(texts))], [None] * len(texts)
    labels = [CLASSES[row % len(CLASSES)] for row in range(len(texts))]
    rows = Dataset.from_dict({"id": ids, "source": ids, "text": texts, "text_pair": empty, "label": labels})
    encoded = encode(rows, lambda first, second: tokenizer(list(first), second), tokenizer, CLASSES, None)
    return encoded.collate(np.arange(len(texts)), 0, 0)


def logits_of(model: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = model(**batch.inputs).logits
    return logits


# Each row is mixed with its partner; 1.0 leaves a row alone. Partners are shorter and longer than the row itself.
LAMBDAS = np.array([0.7, 1.0, 0.4, 0.5, 1.0, 0.9])
PARTNER = np.array([1, 0, 1, 4, 2, 3])


def mixup_objective(
    model: nn.Module,
    batch: Batch,
    mixed_batches: list[Batch],
    carried: Mapping[str, Tensor] = NOTHING,
    **values: Any,
) -> Outcome:
    """Run the trick `mixup` on a batch; the batch that its inner function gets is added to `mixed_batches`."""

    def inner(mixed: Batch) -> Outcome:
        mixed_batches.append(mixed)
        with pooled_vectors(head(model)) as features:
            logits = logits_of(model, mixed)
        loss = functional.cross_entropy(logits, mixed.targets, reduction="none")
        return Outcome(loss, logits, mixed.targets, features[-1])

    run: Any = SimpleNamespace(bare_model=model, head=head(model), rows_passed=0.0)
    settings = {"level": "embedding", "mask": "whole", "depths": [0.5], "block": 2, **values}
    unread = {"partners": 1, "smoothness": 0.0, "prior": 0.0}
    trick = Mixup(alpha=1.0, fraction=1.0, warmup=0.0, cooldown=0.0, **unread, **settings)
    planned = plan(batch, PARTNER, LAMBDAS)
    return trick.objective(run, inner, replace(planned, carried={**planned.carried, **carried}))
