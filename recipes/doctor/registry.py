"""The registry of checks."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recipes.doctor.findings import CheckResult
from recipes.doctor.subject import Subject


@dataclass(frozen=True)
class Check:
    """A registered check."""

    section: str
    name: str
    cheap: bool
    description: str
    function: Callable[[Subject, CheckResult], None]


CHECKS: list[Check] = []


def check(section: str, cheap: bool = False) -> Callable[[Callable[[Subject, CheckResult], None]], Any]:
    """Register a function as a check. The function's name names the check, its docstring describes it.

    Args:
        section: one of `SECTIONS`.
        cheap: whether `train.py` runs the check at every start.
    """

    def register(function: Callable[[Subject, CheckResult], None]) -> Callable[[Subject, CheckResult], None]:
        description = inspect.getdoc(function) or ""
        CHECKS.append(Check(section, function.__name__, cheap, description, function))
        return function

    return register
