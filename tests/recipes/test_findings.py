"""The findings that tricks can be remedies for."""

import pytest

from recipes.findings import FINDINGS, values_in
from recipes.testing import declared_trick, names


def test_keys_are_sorted_and_each_has_a_meaning() -> None:
    assert list(FINDINGS) == sorted(FINDINGS)
    assert all(len(meaning.split()) > 3 for meaning in FINDINGS.values())


@pytest.mark.parametrize(
    ("text", "values"), [("no values", set()), ("{rows} of {rows}", {"rows"}), ("{a}{b:.2f}", {"a", "b"})]
)
def test_values_are_the_names_in_braces(text: str, values: set[str]) -> None:
    assert values_in(text) == values


def test_every_finding_has_a_trick_as_remedy() -> None:
    remedies = {finding for name in names() for finding in declared_trick(name).remedies}
    assert remedies == set(FINDINGS)
