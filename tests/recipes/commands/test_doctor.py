"""`trickbook doctor`: a table or JSON, and the exit code."""

import json

import pytest

from recipes.commands.doctor import main
from recipes.errors import UserError
from recipes.testing import finished_run, in_child


def exit_code(*arguments: str) -> object:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return caught.value.code


def test_a_finished_run_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    code = in_child(lambda: exit_code("--json", str(finished_run())))
    values = json.loads(capfd.readouterr().out)
    assert values["exit_code"] == code and "health" in values


def test_a_folder_and_overrides_are_refused() -> None:
    with pytest.raises(UserError, match="is a folder; give one run folder alone, or overrides alone"):
        main([str(finished_run()), "train.epochs=1"])


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(
        UserError, match=r"^runs/none: there is no such folder; an override is written as name=value\.$"
    ):
        main(["runs/none"])
