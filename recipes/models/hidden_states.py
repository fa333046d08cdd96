"""Changing vectors inside the model: what enters one of its layers, or its head.

By scoped hooks that run before the module. Vectors of other texts are taken from a pass of their own, which ends where
they are found, so each family masks and pads in its own way; it may be made from inside `change`, so that every pass
of a row mixes anew.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class _Reached(Exception):
    """Ends a pass at the module whose input is wanted."""


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside this context the module gets `change(vectors)` instead of what enters it."""

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return change(_first(module, inputs)), *inputs[1:]

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def of(model: nn.Module, module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """What enters a module when the model runs these inputs, before any hook on it; nothing behind it runs."""
    seen: list[Tensor] = []

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(_first(module, inputs))
        raise _Reached

    handle = module.register_forward_pre_hook(hook, prepend=True)
    try:
        model(**inputs)
    except _Reached:
        return seen[0]
    finally:
        handle.remove()
    raise ValueError(f"{type(model).__name__} does not run its {type(module).__name__}")


def _first(module: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    if not (inputs and isinstance(inputs[0], Tensor)):
        raise ValueError(f"{type(module).__name__} does not take its vectors as the first argument")
    return inputs[0]
