"""Find the parts of a model, whatever its family.

The word embeddings are the module that `get_input_embeddings()` returns. The layers are the `ModuleList` with
`num_hidden_layers` entries. The head is the last `Linear` outside the encoder with `num_labels` outputs, and its input
is the pooled vector. This holds for bert, roberta, distilbert, deberta-v2, modernbert, longformer, xlm-roberta, electra
and mpnet. ALBERT shares one layer among all and has no such list.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recipes.errors import UserError


class Reached(Exception):
    """Ends a forward pass where a hook has seen enough."""


# What `has_tokens_first` has found; a model is asked once, not in every update.
_tokens_first: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def word_embeddings(model: nn.Module) -> nn.Module:
    """Find the module that maps token ids to word vectors."""
    return cast(PreTrainedModel, model).get_input_embeddings()


def has_tokens_first(model: nn.Module) -> bool:
    """Whether the inside of the model is (token, row), as in xlnet, and not (row, token)."""
    if model not in _tokens_first:
        _tokens_first[model] = _puts_tokens_first(model)
    return _tokens_first[model]


def _puts_tokens_first(model: nn.Module) -> bool:
    if cast(PreTrainedModel, model).config.is_encoder_decoder:
        return False
    shapes: list[tuple[int, ...]] = []

    def stop(module: nn.Module, inputs: object, output: Tensor) -> None:
        shapes.append(tuple(output.shape[:2]))
        raise Reached

    handle = word_embeddings(model).register_forward_hook(stop, prepend=True)
    try:
        ids = torch.zeros(1, 2, dtype=torch.long, device=next(model.parameters()).device)
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except Reached:
        pass
    finally:
        handle.remove()
    return shapes == [(2, 1)]


def require_one_stack(model: nn.Module, setting: str) -> None:
    """Check that a text passes one stack of layers only.

    Args:
        model: the classifier.
        setting: what changes its word vectors or hidden states, for the message.

    Raises:
        UserError: it is an encoder and a decoder, so what changes the vectors of one leaves those of the other.
    """
    if cast(PreTrainedModel, model).config.is_encoder_decoder:
        raise UserError(
            f"{setting}: {type(model).__name__} reads each text twice, in an encoder and a decoder, and word vectors "
            "or hidden states of one only would be changed; leave it out, or take an encoder."
        )


def layers(model: nn.Module) -> nn.ModuleList:
    """Find the encoder's layers, first to last.

    Raises:
        ValueError: the model has no list of layers (albert shares one layer among all).
    """
    count = cast(PreTrainedModel, model).config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(model).__name__} has no list of {count} layers")


def depths(model: nn.Module) -> dict[nn.Parameter, int]:
    """Map each parameter to its depth, counted from the output.

    Depth 0 is above the layers (pooler and head), 1 is the last of L layers, L is the first layer, and L + 1 is below
    it (the embeddings).

    Raises:
        ValueError: the model has no list of layers.
    """
    stack = layers(model)
    depth_in_stack = {
        parameter: len(stack) - number for number, layer in enumerate(stack) for parameter in layer.parameters()
    }
    # An encoder lists its embeddings first, so its other parameters are below the layers until the first layer has
    # been passed, and above them from then on. The head is outside the encoder, and may be listed before it.
    depth_of, depth_outside = {}, len(stack) + 1
    for parameter in cast(PreTrainedModel, model).base_model.parameters():
        depth_of[parameter] = depth_in_stack.get(parameter, depth_outside)
        depth_outside = 0 if parameter in depth_in_stack else depth_outside
    return {parameter: depth_of.get(parameter, 0) for parameter in model.parameters()}


def head(model: nn.Module) -> nn.Linear:
    """Find the last linear layer outside the encoder, which maps the pooled vectors to the logits.

    Raises:
        ValueError: no linear layer has an output for each class.
    """
    count, encoder = cast(PreTrainedModel, model).config.num_labels, cast(PreTrainedModel, model).base_model
    # A matrix inside the encoder may have as many outputs, and may be listed after the head.
    inside = set() if encoder is model else set(encoder.modules())
    linears = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == count and module not in inside
    ]
    if not linears:
        raise ValueError(f"{type(model).__name__} has no linear head with {count} outputs")
    return linears[-1]


@contextmanager
def pooled_vectors(head: nn.Linear) -> Iterator[list[Tensor]]:
    """Inside this context, collect the input of the head, (row, hidden), at each forward pass."""
    vectors: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: vectors.append(inputs[0]))
    try:
        yield vectors
    finally:
        handle.remove()


@contextmanager
def undropped_vectors(model: nn.Module, head: nn.Linear) -> Iterator[list[tuple[Tensor, float]]]:
    """Inside this context, collect the input of the head before its dropout, and the rate of that dropout.

    At each pass through the head: (row, hidden), and the rate; 0 where the input comes from no dropout.
    """
    vectors: list[tuple[Tensor, float]] = []
    last: list[tuple[nn.Dropout, Tensor, Tensor]] = []

    def watch_dropout(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        last[:] = [(cast(nn.Dropout, module), inputs[0], output)]

    def watch_head(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        matches = [(before, module.p) for module, before, after in last if after is inputs[0]]
        vectors.append(matches[0] if matches else (inputs[0], 0.0))

    # First of all hooks on the head: another one may change the vectors.
    handles = [head.register_forward_pre_hook(watch_head, prepend=True)]
    handles += [each.register_forward_hook(watch_dropout) for each in model.modules() if isinstance(each, nn.Dropout)]
    try:
        yield vectors
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def with_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[bool]:
    """Inside this context the model has other weights; then its own are copied back.

    Yields:
        True, so that the seam `weights` can return this context: the model has weights other than the trained ones.
    """
    own = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    try:
        model.load_state_dict(weights)
        yield True
    finally:
        model.load_state_dict(own)
