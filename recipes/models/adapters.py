"""Low-rank adapters: add them to the linear layers of an encoder, and merge them into plain weights.

An adapted layer computes W x + b + alpha / rank * B A x, where W and b are frozen, A is (rank, in) and B is (out,
rank). The package peft makes the layers.
"""

import re
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from recipes.models.anatomy import depths, layers

ATTENTION = re.compile(r"atte?n")
"""Part of the path, inside a layer, of the modules of its attention: `attention`, `self_attn`, `attn`, `rel_attn`."""


def find_targets(model: nn.Module, kind: str) -> list[str]:
    """List the paths of the linear modules inside the layers whose weights are trained.

    Args:
        model: the classifier.
        kind: `attention`: only those of the attention; `linear`: all.

    Raises:
        ValueError: the model has no list of layers, or two.
    """
    if cast(PreTrainedModel, model).config.is_encoder_decoder:
        raise ValueError(f"{type(model).__name__} has an encoder and a decoder, not one list of layers")
    stack = layers(model)
    prefix = next(name for name, module in model.named_modules() if module is stack)
    return [
        f"{prefix}.{name}"
        for name, module in stack.named_modules()
        if type(module) is nn.Linear and module.weight.requires_grad and (kind == "linear" or ATTENTION.search(name))
    ]


def add_adapters(model: nn.Module, targets: list[str], rank: int, alpha: float, dropout: float) -> None:
    """Add an adapter to each target. Then only adapters and what is above the layers are trained.

    B is 0 at first, so the model computes the same. A is random: seed torch before the call.

    Args:
        model: the classifier.
        targets: paths of linear modules.
        rank: columns of B and rows of A.
        alpha: the product of B and A is scaled by alpha / rank.
        dropout: probability with which an input of A is dropped in training.

    Raises:
        ImportError: the package peft is missing.
    """
    from peft import LoraConfig, inject_adapter_in_model  # late: it takes two seconds, and few runs need it

    above = [weight for weight, depth in depths(model).items() if depth == 0 and weight.requires_grad]
    settings = LoraConfig(r=rank, lora_alpha=cast(int, alpha), lora_dropout=dropout, target_modules=targets)
    inject_adapter_in_model(settings, model)
    for weight in above:
        weight.requires_grad_(True)


def adapted_modules(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The adapted layers and their paths."""
    for path, module in model.named_modules():
        if hasattr(module, "base_layer") and hasattr(module, "lora_A"):
            yield path, module


def merged_weights(model: nn.Module) -> dict[str, Tensor] | None:
    """Compute the weights of the same model without adapters, by name; None if it has none.

    The weights of the model stay as they are.
    """
    adapted = dict(adapted_modules(model))
    if not adapted:
        return None
    weights = {
        name: tensor
        for name, tensor in cast(PreTrainedModel, model).state_dict().items()
        if not any(name.startswith(f"{path}.") for path in adapted)
    }
    for path, module in adapted.items():
        for name, tensor in module.base_layer.state_dict().items():
            weights[f"{path}.{name}"] = tensor
        weights[f"{path}.weight"] = module.base_layer.weight.detach() + module.get_delta_weight("default").detach()
    return weights
