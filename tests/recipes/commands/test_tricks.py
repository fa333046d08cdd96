"""`trickbook tricks`: the list without PyTorch is that of the built tricks, and a trick is shown with its settings."""

import pytest

from recipes import seams
from recipes.commands.tricks import card_of, main, read_cards, tricks
from recipes.errors import UserError
from recipes.testing import names


def test_the_cards_are_those_of_the_tricks() -> None:
    expected = {
        name: (seams.stage_of(trick.slots).replace("_", "-"), card_of(trick).strip())
        for name, trick in tricks().items()
    }
    cards = {name: (stage, card.strip()) for name, (stage, card) in read_cards().items()}
    assert {name: stage for name, (stage, _) in cards.items()} == {name: each[0] for name, each in expected.items()}
    first_lines = {name: card.splitlines()[0] for name, (_, card) in cards.items()}
    assert first_lines == {name: card.splitlines()[0] for name, (_, card) in expected.items()}


def test_the_list_has_a_row_for_each_trick(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    first_words = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [word for word in first_words if word in names()] == names()


def test_a_trick_is_shown_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    main(["focal"])
    text = capsys.readouterr().out
    assert text.startswith("focal\n\nFocal") and "Use when: " in text
    assert [line.split()[:2] for line in text.splitlines() if line.startswith("  gamma ")] == [["gamma", "2.0"]]


def test_a_trick_is_shown_with_what_it_sets(capsys: pytest.CaptureFixture[str]) -> None:
    main(["clip_gradient"])
    assert capsys.readouterr().out.endswith("\nclip_gradient sets train.clip_norm=null.\n")


def test_every_misspelt_trick_is_reported() -> None:
    with pytest.raises(UserError) as caught:
        main(["focl", "mixpu", "mixup"])
    assert [problem.partition(";")[0] for problem in caught.value.problems] == [
        "focl: there is no such trick",
        "mixpu: there is no such trick",
    ]
