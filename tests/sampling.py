"""Of many cases that differ in little, a fixed sample runs in `make test`, and all run in `make slow`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def every(step: int, cases: Iterable[Any]) -> list[Any]:
    """Mark all cases as slow but the first one and each `step`-th after it; a tuple has a value for each argument."""
    return [case if index % step == 0 else _mark(case) for index, case in enumerate(cases)]


def only(fast: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """Mark all cases as slow that are not among the fast ones; a tuple has a value for each argument."""
    return [case if case in fast else _mark(case) for case in cases]


def slow(*values: Any) -> Any:
    """Mark one case as slow, of a value for each argument."""
    return pytest.param(*values, marks=pytest.mark.slow)


def _mark(case: Any) -> Any:
    return slow(*case) if isinstance(case, tuple) else slow(case)
