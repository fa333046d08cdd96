"""Modify vectors inside the model: the input of one of its layers, or of its head.

`modify` is a scoped hook that runs before the module. `capture` computes the vectors of other texts by a separate
forward pass, which ends at the module. So each family masks and pads in its own way. `capture` may be called from
inside `change`, so that every forward pass of a row mixes with new vectors.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class _Captured(Exception):
    """Ends a forward pass at the module whose input is captured."""


@contextmanager
def modify(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside this context the module gets `change(vectors)` instead of its input vectors."""

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return change(_first_argument(module, inputs)), *inputs[1:]

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def capture(model: nn.Module, module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Run the model up to a module and return the module's input vectors, before any hook on it changes them.

    Args:
        model: the classifier.
        module: one of its modules.
        inputs: the keyword arguments of the model's forward pass.

    Raises:
        ValueError: the forward pass does not reach the module, or its first argument is not a tensor.
    """
    captured: list[Tensor] = []

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        captured.append(_first_argument(module, inputs))
        raise _Captured

    handle = module.register_forward_pre_hook(hook, prepend=True)
    try:
        model(**inputs)
    except _Captured:
        return captured[0]
    finally:
        handle.remove()
    raise ValueError(f"{type(model).__name__} does not run its {type(module).__name__}")


def _first_argument(module: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    if not (inputs and isinstance(inputs[0], Tensor)):
        raise ValueError(f"{type(module).__name__} does not take its vectors as the first argument")
    return inputs[0]
