"""`trickbook` itself: its page, its version, and a command that does not exist."""

import pytest

from recipes.commands import COMMANDS
from recipes.commands.trickbook import describe, main


def run(*arguments: str) -> int | str | None:
    try:
        main(list(arguments))
    except SystemExit as error:
        return error.code
    return 0


def test_its_page_is_one_screen_of_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((), ("-h",), ("--help",)):
        assert run(*arguments) == 0
        assert capsys.readouterr().out == describe() + "\n"
    lines = describe().splitlines()
    assert len(lines) < 24 and max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line[:2] == "  " and "trickbook" not in line] == list(COMMANDS)


def test_a_command_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("predcit", "run") == 2
    assert capsys.readouterr().err.startswith(
        "predcit: there is no such command; did you mean predict? There are: choose, doc"
    )


def test_its_version_names_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    words = capsys.readouterr().out.split()
    assert words[0] == "trickbook" and words[1].count(".") == 2 and words[4] == "(Python"


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"train"}))
def test_every_command_has_a_page_of_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/trickbook"])
    monkeypatch.setenv("COLUMNS", "80")
    assert run(name, "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: trickbook {name}") and max(map(len, text.splitlines())) <= 80


def test_a_mistake_ends_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("predict", "no_run", "in.csv", "out.csv") == 2
    assert "no_run holds no finished run" in capsys.readouterr().err
