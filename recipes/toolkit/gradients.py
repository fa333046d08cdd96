"""Take gradients out of parameters and put them back, to separate the gradients of passes or to undo a pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def set_gradients_aside(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside this context gradients start empty; on exit the previous gradients replace them."""
    before = take_gradients(parameters)
    try:
        yield
    finally:
        set_gradients(parameters, before)


def take_gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """Return the gradients and clear them from the parameters."""
    gradients = [parameter.grad for parameter in parameters]
    set_gradients(parameters, [None] * len(gradients))
    return gradients


def set_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Replace the gradients of the parameters."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def add_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Add gradients to those of the parameters; the added tensors may be changed in place."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else gradient.add_(parameter.grad)
