"""Gradients that are put aside: so that one pass's can be told from another's, or taken back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def set_gradients_aside(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside this context gradients start from nothing; afterwards those from before are back, and the others gone."""
    before = copy_gradients(parameters)
    try:
        yield
    finally:
        restore(parameters, before)


def copy_gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """The gradients, which are gone from the parameters."""
    gradients = [parameter.grad for parameter in parameters]
    restore(parameters, [None] * len(gradients))
    return gradients


def restore(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Let the parameters have these gradients in place of theirs."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def add(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Add gradients to those that the parameters have."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else gradient.add_(parameter.grad)
