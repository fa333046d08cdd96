"""Completion by the Tab key: open lists of tricks, and the lines of `trickbook train`."""

import pytest

from recipes.commands import COMMANDS, train, trickbook
from recipes.compose.completion import complete

QUERY = ["-sc", "query=bash"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python train.py +tricks=[mixu", ["+tricks=[mixup"]),
        (
            "python train.py data=files +tricks=[mixup,a",
            [f"+tricks=[mixup,{name}" for name in ("accumulate", "amp", "augment_from", "awp")],
        ),
        ("trickbook train +tricks=[amp,awp,a", ["+tricks=[amp,awp,accumulate", "+tricks=[amp,awp,augment_from"]),
        ("python train.py +tricks=[none", []),
        ("", []),
    ],
)
def test_an_open_list_of_tricks_is_completed(line: str, expected: list[str]) -> None:
    assert complete(QUERY, {"COMP_LINE": line}) == expected


def test_hydra_answers_the_rest_of_a_line_that_it_can_read() -> None:
    environment = {"COMP_LINE": "trickbook train data=", "COMP_POINT": "21"}
    assert complete(QUERY, environment) is None
    assert environment == {"COMP_LINE": "trickbook data=", "COMP_POINT": "15"}
    assert complete(["-sc", "install=bash"], {}) is None
    assert complete(["seed=1"], {}) is None and complete([], {}) is None


def test_a_shell_is_answered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COMP_LINE", "python train.py +tricks=[mixu")
    train.main(QUERY)
    assert capsys.readouterr().out == "+tricks=[mixup\n"
    monkeypatch.setenv("COMP_LINE", "trickbook d")
    trickbook.main(QUERY)
    assert capsys.readouterr().out == "doctor\n" and "doctor" in COMMANDS
    monkeypatch.setenv("COMP_LINE", "trickbook predict runs/")
    trickbook.main(QUERY)
    assert capsys.readouterr().out == ""
