"""What a trick needs of the model. A model that lacks it is refused with a sentence, before anything is trained."""

from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from recipes.base import evaluating
from recipes.errors import UserError
from recipes.models.anatomy import head, layers, pooled_vectors


def require_layers(model: nn.Module, setting: str, remedy: str = "leave it out") -> nn.ModuleList:
    """The encoder's layers, first to last.

    Args:
        model: the classifier.
        setting: what needs them, for the message.
        remedy: what to do otherwise than take another model.

    Raises:
        UserError: the model has no list of layers.
    """
    try:
        return layers(model)
    except ValueError as error:
        raise UserError(f"{setting}: {error}; {remedy}, or take a model that has one, such as model=bert.") from error


def require_pooled_head(model: nn.Module, setting: str, remedy: str = "leave it out") -> None:
    """Check that the head reads one vector of a text.

    Args:
        model: the classifier.
        setting: what needs that vector, for the message.
        remedy: what to do.

    Raises:
        UserError: the head reads the vectors of all tokens, and one of its outputs is taken afterwards (gpt2).
    """
    # The vectors of an encoder and a decoder are pooled before the head, at a token that this text would need.
    if cast(PreTrainedModel, model).config.is_encoder_decoder:
        return
    ids = torch.zeros(1, 2, dtype=torch.long, device=next(model.parameters()).device)
    with evaluating(model), pooled_vectors(head(model)) as vectors:
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    if vectors[0].dim() > 2:
        raise UserError(
            f"{setting}: the head of {type(model).__name__} reads every token, and not one pooled vector of a text; "
            f"{remedy}."
        )
