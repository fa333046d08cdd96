"""Give an encoder its masked-language-model head: that of its pretraining, which predicts masked tokens."""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn
from transformers import MODEL_FOR_MASKED_LM_MAPPING, PreTrainedModel

from recipes.config import Model
from recipes.errors import UserError
from recipes.models.anatomy import require_one_stack, word_embeddings
from recipes.models.loading import load_masked_model, setting_of


def require_masked_head(classifier: PreTrainedModel, settings: Model, setting: str) -> None:
    """Check that an encoder can predict masked tokens.

    Args:
        classifier: the model of the run.
        settings: the config's `model`.
        setting: the trick, for messages.

    Raises:
        UserError: transformers has no such head for this architecture.
    """
    require_one_stack(classifier, setting)
    if type(classifier.config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise UserError(
            f"{setting}: {type(classifier).__name__} ({setting_of(settings)}) has no masked-language-model "
            "head; leave this trick out, or take an encoder that has one, such as model=bert."
        )


def add_masked_head(classifier: PreTrainedModel, settings: Model) -> tuple[PreTrainedModel, bool]:
    """Make a model that predicts masked tokens with the encoder of a classifier, which is trained with it.

    A new head is random, apart from the word vectors that it shares with the encoder: seed torch before the call.

    Args:
        classifier: the model of the run, which `require_masked_head` lets pass.
        settings: the config's `model`, whose files may have the head.

    Returns:
        The model, and whether its head is new.
    """
    model, is_new = load_masked_model(settings, classifier.config)
    setattr(model, model.base_model_prefix, classifier.base_model)
    words = word_embeddings(classifier)
    decoder = cast(nn.Linear | None, model.get_output_embeddings())  # type: ignore[no-untyped-call]
    if decoder is not None and decoder.weight.shape == words.weight.shape:
        decoder.weight = cast(nn.Parameter, words.weight)
    nn.Module.to(model, classifier.device)
    return model.train(), is_new


def predict_tokens(model: PreTrainedModel, inputs: Mapping[str, Tensor], positions: Tensor) -> Tensor:
    """The logits of some tokens, (token, piece of the vocabulary).

    Args:
        model: from `add_masked_head`.
        inputs: of the encoder, each (row, token).
        positions: which tokens, (row, token); of all of them the logits would not fit in memory.
    """

    def select(_: nn.Module, arguments: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[positions][None]
        return output

    handle = model.base_model.register_forward_hook(select)
    try:
        return cast(Tensor, model(**inputs).logits[0])
    finally:
        handle.remove()
