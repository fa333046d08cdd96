"""What recorders have in common: the types of a pass and its replay, and gradients that are handed over.

A recorder calls a pass once and returns its replay. The replay runs the recorded operations of the device on the
tensors of another part of the same shape. Python does not run again: what it read, drew or counted stays as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.utils import import_utils

from recipes.data.batch import Batch, Loss

Pass = Callable[[Batch], Loss]
"""Forward and backward of a part: adds to `.grad` of the parameters, and of tensors of the part that require it."""
Recorder = Callable[[Pass, Batch], Pass]
"""Records a pass over a part; what it returns replays the pass on other parts of the same shape."""


@contextmanager
def as_if_captured() -> Iterator[None]:
    """Inside this context a model of transformers does what it does in a capture.

    Outside, it looks whether a mask hides anything, and takes another kernel if not, which draws other dropout. In a
    capture it cannot look, so it always uses the mask. Parts that are not replayed must do the same.
    """
    is_capturing = import_utils.is_cuda_stream_capturing
    import_utils.is_cuda_stream_capturing = lambda: True
    try:
        yield
    finally:
        import_utils.is_cuda_stream_capturing = is_capturing


@contextmanager
def empty_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside this context gradients start empty; afterwards they are as before."""
    before = [each.grad for each in parameters]
    clear_gradients(parameters)
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient


def clear_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Leave the parameters without gradients."""
    for parameter in parameters:
        parameter.grad = None


def hand_over(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """Add gradients to those of the parameters, as a backward pass does; the tensors themselves are not taken over."""
    empty: list[tuple[nn.Parameter, Tensor]] = []
    filled: list[tuple[Tensor, Tensor]] = []
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            empty.append((parameter, gradient))
        else:
            filled.append((parameter.grad, gradient))
    # One launch for all: one for each parameter would take as long as the pass.
    if empty:
        clones = torch._foreach_mul([gradient for _, gradient in empty], 1.0)
        for (parameter, _), clone in zip(empty, clones, strict=True):
            parameter.grad = clone
    if filled:
        torch._foreach_add_([own for own, _ in filled], [gradient for _, gradient in filled])
