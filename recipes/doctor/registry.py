"""The registry of checks."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recipes.doctor.findings import Look
from recipes.doctor.subject import Patient


@dataclass(frozen=True)
class Check:
    """A check, as it is registered."""

    section: str
    name: str
    cheap: bool
    about: str
    look: Callable[[Patient, Look], None]


CHECKS: list[Check] = []


def check(section: str, cheap: bool = False) -> Callable[[Callable[[Patient, Look], None]], Any]:
    """Register a function as a check; its name is the check's, its docstring says what it is about.

    Args:
        section: one of `SECTIONS`.
        cheap: whether `train.py` runs it at every start.
    """

    def registered(look: Callable[[Patient, Look], None]) -> Callable[[Patient, Look], None]:
        about = inspect.getdoc(look) or ""
        CHECKS.append(Check(section, look.__name__, cheap, about, look))
        return look

    return registered
