"""Load a tokenizer and a classifier: from the hub or a folder, from a package, or a tiny random model."""

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    dynamic_module_utils,
)
from transformers.utils import logging as transformers_logging

from recipes.config import Model
from recipes.errors import UserError
from recipes.models import masks
from recipes.models.packages import PACKAGES, packaged_folder
from recipes.models.vocabulary import trim_embeddings, trim_rules
from recipes.runs.files import expand_home

TINY_VOCABULARY = 4000

# The exceptions that loading raises if a name, a file or a setting is wrong.
UNLOADABLE = (OSError, ValueError, ImportError, SafetensorError, UnpicklingError, StrictDataclassError)
# Further ones that torch raises for a damaged .bin file, which may hold anything.
DAMAGED_PICKLE = (EOFError, KeyError, RuntimeError, TypeError)

# Fine-tuning always starts with a new head, but transformers warns of it on every load.
transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
# Where a caller does not decide, transformers asks "[y/N]" whether to run a model's code: without time, it refuses.
dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
masks.register()


def load_tokenizer(
    settings: Model, texts: Sequence[str], validation_texts: Sequence[str] = ()
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the model.

    Args:
        settings: the config's `model`.
        texts: the training texts; `model=tiny` makes its vocabulary from them.
        validation_texts: a trimmed vocabulary has their pieces too.

    Raises:
        UserError: there is no such model, it comes without a tokenizer, or its vocabulary cannot be trimmed.
    """
    if settings.source == "tiny":
        return _tiny_tokenizer(texts)
    tokenizer = _load_own_tokenizer(settings)
    if not settings.trim_vocabulary:
        return tokenizer
    rules = trim_rules(tokenizer, [*texts, *validation_texts], setting_of(settings))
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        (Path(folder) / "tokenizer.json").write_text(rules, encoding="utf-8")
        trimmed = cast(PreTrainedTokenizerBase, load_saved(AutoTokenizer, Path(folder)))
    trimmed.name_or_path = tokenizer.name_or_path
    return trimmed


def _load_own_tokenizer(settings: Model) -> PreTrainedTokenizerBase:
    """Load the tokenizer that the model comes with."""
    source = _folder_or_hub_name(settings)
    try:
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(source, trust_remote_code=False))
    except UNLOADABLE as error:
        raise _no_such_model(settings, error) from error
    # Without tokenizer files transformers makes an empty tokenizer instead of failing.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise UserError(f"{setting_of(settings)}: the model has no tokenizer; save the tokenizer to the same folder.")
    return tokenizer


def load_model(
    settings: Model, tokenizer: PreTrainedTokenizerBase, classes: Sequence[str], multi_label: bool
) -> PreTrainedModel:
    """Load a classifier for these classes.

    Its head is new, unless the model comes with a trained head of as many outputs. A new head is random: seed torch
    before the call.

    Args:
        settings: the config's `model`.
        tokenizer: the model's tokenizer, whose vocabulary `model=tiny` takes over.
        classes: the labels, in the order of the logits.
        multi_label: whether a row may have more than one label.

    Raises:
        UserError: there is no such model, it has no classifier, or its files hold other weights.
    """
    label_settings = {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
        "problem_type": "multi_label_classification" if multi_label else "single_label_classification",
    }
    source = "" if settings.source == "tiny" else _folder_or_hub_name(settings)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False) if source else _tiny_config(tokenizer)
        config.update(label_settings)
        _set_dropout(config, settings.dropout)
        if source:
            model, report = AutoModelForSequenceClassification.from_pretrained(
                source,
                config=config,
                dtype="float32",
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            _check_missing_weights(settings, model, report["missing_keys"])
            if settings.trim_vocabulary:
                trim_embeddings(model, _load_own_tokenizer(settings), tokenizer)
        else:
            model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
        if settings.gradient_checkpointing:
            if not model.supports_gradient_checkpointing:
                raise UserError(f"model.gradient_checkpointing=true: {type(model).__name__} cannot; set it to false.")
            # transformers 5.17 has only the old name, and 5.23 warns about the old name.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
    except UNLOADABLE as error:
        raise _no_such_model(settings, error) from error
    except DAMAGED_PICKLE as error:
        if any(Path(source).glob("*.safetensors")) or not any(Path(source).glob("*.bin")):
            raise
        raise _no_such_model(settings, UnpicklingError(str(error))) from error
    return cast(PreTrainedModel, model)


def labels_of_head(settings: Model) -> list[str] | None:
    """Read the labels of the head that the model comes with, in the order of its outputs; None if it has no head."""
    if settings.source != "hub":
        return None
    config = AutoConfig.from_pretrained(_folder_or_hub_name(settings), trust_remote_code=False)
    if not any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        return None
    return [str(config.id2label[number]) for number in range(config.num_labels)]


def load_masked_model(settings: Model, config: PretrainedConfig) -> tuple[PreTrainedModel, bool]:
    """Load the model with its masked-language-model head.

    Args:
        settings: the config's `model`.
        config: of the classifier, whose vocabulary may be trimmed.

    Returns:
        The model, and whether its head is new: because the files have none, or because the vocabulary is trimmed.

    Raises:
        UserError: the files cannot be read.
    """
    if settings.source == "tiny" or settings.trim_vocabulary:
        return AutoModelForMaskedLM.from_config(config, trust_remote_code=False), True  # type: ignore[no-untyped-call]
    try:
        model, report = AutoModelForMaskedLM.from_pretrained(
            _folder_or_hub_name(settings),
            config=config,
            dtype="float32",
            trust_remote_code=False,
            output_loading_info=True,
        )
    except UNLOADABLE as error:
        raise _no_such_model(settings, error) from error
    return model, any(not name.startswith(f"{model.base_model_prefix}.") for name in report["missing_keys"])


def _folder_or_hub_name(settings: Model) -> str:
    """Resolve `model` to what `from_pretrained` takes: a local folder, or a name on the hub."""
    if settings.source in PACKAGES:
        return str(packaged_folder(settings.source))
    if not settings.name:
        raise UserError("model.name is not set; model=hub needs model.name=owner/name, or a local folder.")
    folder = expand_home(settings.name)
    if not folder.is_dir() and (settings.name.startswith((".", "~", "/")) or settings.name.count("/") > 1):
        raise UserError(f"model.name={settings.name}: there is no such folder.")
    return str(folder) if folder.is_dir() else settings.name


def setting_of(settings: Model) -> str:
    """The override that chose the model, for messages."""
    return f"model.name={settings.name}" if settings.source == "hub" else f"model={settings.source}"


def _no_such_model(settings: Model, error: Exception) -> UserError:
    """Explain why a model cannot be loaded."""
    reason = _reason(error)
    # transformers tries tiktoken last, so its message names that package for any SentencePiece file.
    if "tiktoken" in reason:
        reason = "its tokenizer is a SentencePiece file, which needs: pip install 'trickbook[sentencepiece]'"
    return UserError(
        f"{setting_of(settings)}: cannot be loaded as a sequence classifier ({reason}). Give the hub's name of an "
        "encoder, or the path of a folder that holds one; without a network, model=minilm needs none."
    )


def _reason(error: Exception) -> str:
    """The first line of an error, or our words for it."""
    if isinstance(error, UnpicklingError):
        return (
            "its .bin file is damaged, or holds pickled objects other than tensors, which could run code, and is not "
            "opened; ask for model.safetensors"
        )
    if "trust_remote_code" in str(error):
        return "it needs program code that comes with it, and such code is never run; choose a model of transformers"
    return str(error).strip().split("\n")[0].rstrip(". ")


def load_saved(kind: Any, folder: Path, **options: Any) -> Any:
    """Load what is in the `model` folder of a run, which may be from somebody else.

    No code of the folder runs, no pickle is opened, and nothing is downloaded.

    Args:
        kind: the class of transformers that loads it, such as `AutoTokenizer`.
        folder: the folder.
        **options: of its `from_pretrained`.

    Raises:
        UserError: the folder is incomplete or damaged, or needs code of its own.
    """
    try:
        return kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **options)
    except UNLOADABLE as error:
        raise UserError(f"{folder} is damaged ({_reason(error)}); copy all of it, or train again.") from error


def _check_missing_weights(settings: Model, model: PreTrainedModel, missing: Iterable[str]) -> None:
    """Raise if the files lack weights of the encoder.

    transformers would fill them in with random numbers. The head and the pooler may be new.
    """
    prefix = f"{model.base_model_prefix}."
    missing_in_encoder = sorted(name for name in missing if name.startswith(prefix) and "pooler" not in name)
    if missing_in_encoder:
        raise UserError(
            f"{setting_of(settings)}: its files lack {len(missing_in_encoder)} weights of {type(model).__name__} "
            f"(such as {missing_in_encoder[0]}), so it would start from random ones; does config.json belong to these "
            "weights?"
        )


def _set_dropout(config: PretrainedConfig, dropout: float | None) -> None:
    """Set every dropout rate of the config; each family has other names for them."""
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
    """Make a WordPiece tokenizer of the most frequent words and all their characters, without any randomness."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    characters = sorted({character for word in words for character in word})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    frequent = [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:TINY_VOCABULARY]]
    # A word that is not in the vocabulary is spelled: a character, then continuing characters marked by ##.
    continuations = [f"##{character}" for character in characters]
    tokens = dict.fromkeys([*special, *characters, *continuations, *frequent])
    vocabulary = {token: number for number, token in enumerate(tokens)}
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
