"""Find the parts of a model without knowing its name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
)


def word_embeddings(model: nn.Module) -> nn.Module:
    """The layer that turns token ids into word vectors."""
    return cast(PreTrainedModel, model).get_input_embeddings()


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


def depths(model: nn.Module) -> dict[nn.Parameter, int]:
    """How deep a parameter stands: 0 above the layers, 1 in the last of L layers, L in the first, L + 1 below it.

    Raises:
        ValueError: the model has no list of layers.
    """
    stack = layers(model)
    inside = {each: len(stack) - number for number, layer in enumerate(stack) for each in layer.parameters()}
    found, outside = {}, len(stack) + 1
    # In a model's own order the embeddings come first, and what is not in a layer later is above them.
    for each in model.parameters():
        found[each] = inside.get(each, outside)
        outside = 0 if each in inside else outside
    return found


def head(model: nn.Module) -> nn.Linear:
    """The last linear map, onto the classes; what enters it is the pooled vector."""
    count = cast(PreTrainedModel, model).config.num_labels
    found = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == count]
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear head with {count} outputs")
    return found[-1]


@contextmanager
def pooled_vectors(head: nn.Linear) -> Iterator[list[Tensor]]:
    """Collect, call by call, what enters the head, (row, hidden)."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def with_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[bool]:
    """Inside this context the model has these weights; its own come back by copy. Gives True, as `weights` does."""
    own = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    try:
        model.load_state_dict(weights)
        yield True
    finally:
        model.load_state_dict(own)
