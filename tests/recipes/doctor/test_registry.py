"""Registering a function as a check."""

import pytest

from recipes.doctor import registry
from recipes.doctor.findings import CheckResult
from recipes.doctor.registry import Check
from recipes.doctor.subject import Subject


@pytest.mark.parametrize("cheap", [False, True])
def test_the_name_and_docstring_of_a_function_become_those_of_its_check(
    cheap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "CHECKS", [])

    def lengths(subject: Subject, result: CheckResult) -> None:
        """Texts are short."""

    assert registry.check("data", cheap)(lengths) is lengths
    assert registry.CHECKS == [Check("data", "lengths", cheap, "Texts are short.", lengths)]
