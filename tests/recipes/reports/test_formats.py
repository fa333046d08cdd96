"""Scores have four digits, and long texts end with a sign that they are cut."""

import pytest

from recipes.reports.formats import begin_upper, format_score, shorten_text


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5000"), (None, ""), (3, "3"), (float("nan"), "nan")])
def test_a_score(value: object, text: str) -> None:
    assert format_score(value) == text


def test_a_text_is_cut_after_its_last_allowed_character() -> None:
    assert (shorten_text("abc", 3), shorten_text("abcd", 3)) == ("abc", "abc…")


def test_a_sentence_begins_with_a_capital_and_changes_nowhere_else() -> None:
    assert (begin_upper("it learned on SST-2."), begin_upper("")) == ("It learned on SST-2.", "")
