"""Changing word vectors on their way from the embedding layer into the model.

By a scoped forward hook on the layer's output, not through `inputs_embeds`, which some classifiers refuse. Scopes nest
as the onion does: the inner one (mixing, in `objective`) sees the vectors first, the outer one (an attack, in
`gradient`) sees what it made of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from recipes.models.anatomy import word_embeddings


@contextmanager
def changed(model: nn.Module, width: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside this context the model sees `change(word vectors)` instead of its own.

    Args:
        model: the classifier.
        width: tokens of the batch; a model that pads by itself (longformer) keeps what it adds behind them.
        change: from (row, width, hidden) to the same.
    """

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        new = change(output[:, :width])
        return new if output.shape[1] == width else torch.cat([new, output[:, width:]], dim=1)

    handle = word_embeddings(model).register_forward_hook(hook, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def of(model: nn.Module, token_ids: Tensor) -> Tensor:
    """The word vectors of tokens, (row, token, hidden), past any hook."""
    return cast(Tensor, word_embeddings(model).forward(token_ids))


def are_changed(model: nn.Module) -> bool:
    """Whether something changes them now."""
    return bool(word_embeddings(model)._forward_hooks)
