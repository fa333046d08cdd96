"""The lines of `history.jsonl`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.errors import UserError
from recipes.runs.history import History

Write = Callable[[str, str], Path]


def test_lines_are_read_as_they_were_appended(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    assert history.read() == []
    history.append([{"update": 1, "loss": 0.5}])
    history.append(
        [{"update": 2, "loss": float("nan"), "grad_norm": float("inf")}, {"update": 2, "split": "validation"}]
    )
    assert history.read() == [
        {"update": 1, "loss": 0.5},
        {"update": 2, "loss": None, "grad_norm": None},
        {"update": 2, "split": "validation"},
    ]


def test_half_a_line_at_the_end_is_ignored(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append([{"update": 1}, {"update": 2}])
    with history.path.open("a") as file:
        file.write('{"update": 3, "lo')
    assert [line["update"] for line in history.read()] == [1, 2]
    history.cut(2)
    history.append([{"update": 3}])
    assert [line["update"] for line in history.read()] == [1, 2, 3]


def test_cut_drops_the_lines_after_an_update(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append([{"update": number} for number in (1, 2, 2, 3, 3)])
    history.cut(2)
    assert [line["update"] for line in history.read()] == [1, 2, 2]


def test_a_folder_that_cannot_be_written_is_a_user_error(write: Write) -> None:
    with pytest.raises(UserError, match="a file stands where a folder should be"):
        History(write("a", "") / "history.jsonl").append([{"update": 1}])
