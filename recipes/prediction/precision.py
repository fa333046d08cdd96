"""The precision that a model predicts in: that of its training, one that is named, or the fastest of the machine."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch

from recipes.data.cache import cache_folder
from recipes.errors import UserError
from recipes.runtime.precision import fastest_on_gpu, measure_once

PRECISIONS = ("auto", "fastest", "fp32", "bf16", "fp16")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_requested = ContextVar("precision", default="auto")


@contextmanager
def in_precision(precision: str) -> Iterator[None]:
    """Inside this context predictors are loaded in a precision; auto: that of each one's training, on a CPU.

    Raises:
        UserError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision}: choose one of {', '.join(PRECISIONS)}.")
    token = _requested.set(precision)
    try:
        yield
    finally:
        _requested.reset(token)


def choose_precision(device: str, trained_in: str) -> str:
    """Choose the precision of a predictor that is loaded: fp32, bf16 or fp16.

    Args:
        device: type of its device.
        trained_in: the precision of its training.
    """
    requested = _requested.get()
    if requested == "auto":
        return trained_in if device == "cpu" else "fp32"
    if requested == "fastest":
        return measure_once(cache_folder() / "precision").fastest if device == "cpu" else fastest_on_gpu()
    return requested


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """The context in which a model computes in 16 bits; one without effect for the other precisions."""
    return torch.autocast(device, DTYPES[precision]) if precision in DTYPES else nullcontext()
