"""Let the head read the mean of a text's token vectors, as sentence encoders are trained, not the first one alone."""

from inspect import signature
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from recipes.errors import UserError
from recipes.models.anatomy import head, require_one_stack


def read_mean(model: PreTrainedModel, setting: str) -> None:
    """Replace the model's forward: logits = head(mean of the last layer's vectors over the tokens that are no padding).

    What the model has between encoder and head (a pooler) is not used any more, and is not trained.

    Args:
        model: the classifier.
        setting: the override that asked for the mean, for messages.

    Raises:
        UserError: the model has two stacks of layers, or its head reads vectors of another size.
    """
    require_one_stack(model, setting)
    encoder, classifier = model.base_model, head(model)
    if classifier.in_features != model.config.hidden_size:
        raise UserError(
            f"{setting}: the head of {type(model).__name__} reads {classifier.in_features} numbers a text, its encoder "
            f"writes {model.config.hidden_size}; leave the setting at own."
        )
    between = [module for module in (getattr(encoder, "pooler", None), *model.children()) if module is not None]
    for module in between:
        if module is not encoder and module is not classifier:
            for parameter in set(module.parameters()) - set(classifier.parameters()):
                parameter.requires_grad_(False)

    # Longformer's classifier lets the first token of a text attend to all others.
    has_global_tokens = "global_attention_mask" in signature(encoder.forward).parameters

    def forward(**inputs: Tensor) -> SequenceClassifierOutput:
        if has_global_tokens:
            is_first = torch.zeros_like(inputs["attention_mask"])
            is_first[:, 0] = 1
            inputs["global_attention_mask"] = is_first
        vectors = cast(Tensor, encoder(**inputs)[0])
        mask = inputs["attention_mask"][..., None].to(vectors.dtype)
        mean = (vectors * mask).sum(1) / mask.sum(1)
        return SequenceClassifierOutput(logits=classifier(mean))

    # A function, not a method: accelerate would bind a method to the model again.
    model.forward = forward
