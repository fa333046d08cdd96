"""Modify word vectors on their way from the embedding layer into the model.

`modify` is a scoped forward hook on the layer's output. `inputs_embeds` would not do, since some classifiers refuse it.
Scopes nest in the order of tricks: the inner scope (mixing, in `objective`) gets the vectors first, and the outer scope
(an attack, in `gradient`) gets its result.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from recipes.models.anatomy import has_tokens_first, require_one_stack, word_embeddings


@contextmanager
def modify(model: nn.Module, width: int | None, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside this context the model gets `change(word vectors)` instead of its word vectors.

    Args:
        model: the classifier.
        width: the number of tokens of the batch. The vectors of padding that a model (longformer) adds after them are
            not changed. None: all of them are.
        change: maps word vectors, (row, width, hidden), to vectors of the same shape.

    Raises:
        UserError: the model has word vectors in its encoder and in its decoder.
    """
    require_one_stack(model, "word vectors")
    tokens_first = has_tokens_first(model)

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if tokens_first:
            return change(output.transpose(0, 1)).transpose(0, 1)
        if width is None:
            return change(output)
        new = change(output[:, :width])
        return new if output.shape[1] == width else torch.cat([new, output[:, width:]], dim=1)

    handle = word_embeddings(model).register_forward_hook(hook, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def embed(model: nn.Module, token_ids: Tensor) -> Tensor:
    """Compute the word vectors of token ids, (row, token, hidden), without any hook."""
    return cast(Tensor, word_embeddings(model).forward(token_ids))


def has_hooks(model: nn.Module) -> bool:
    """Whether a hook on the word embeddings may change the word vectors."""
    return bool(word_embeddings(model)._forward_hooks)
