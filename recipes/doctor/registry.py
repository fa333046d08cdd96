"""The registry of checks."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recipes.doctor.findings import CheckResult
from recipes.doctor.subject import Subject


@dataclass(frozen=True)
class Check:
    """A check, as it is registered."""

    section: str
    name: str
    cheap: bool
    about: str
    result: Callable[[Subject, CheckResult], None]


CHECKS: list[Check] = []


def check(section: str, cheap: bool = False) -> Callable[[Callable[[Subject, CheckResult], None]], Any]:
    """Register a function as a check; its name is the check's, its docstring says what it is about.

    Args:
        section: one of `SECTIONS`.
        cheap: whether `train.py` runs it at every start.
    """

    def registered(result: Callable[[Subject, CheckResult], None]) -> Callable[[Subject, CheckResult], None]:
        about = inspect.getdoc(result) or ""
        CHECKS.append(Check(section, result.__name__, cheap, about, result))
        return result

    return registered
