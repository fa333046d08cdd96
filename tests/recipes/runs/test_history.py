"""The lines of `history.jsonl`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.errors import UserError
from recipes.runs.history import START, History

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


def test_a_mark_finds_any_change_of_the_lines_before_it(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    assert history.mark() == START and history.begins_with(START)
    history.append([{"update": 1}, {"update": 2}])
    mark = history.mark()
    history.append([{"update": 3}])
    contents = history.path.read_bytes()
    assert history.begins_with(mark) and history.begins_with(START)
    for damaged in (contents[:9], contents.replace(b"1", b"7"), b"", b"\n" + contents):
        history.path.write_bytes(damaged)
        assert not history.begins_with(mark)
    history.path.write_bytes(contents + b"\xff rubbish after the mark")
    history.go_back(mark)
    assert history.read() == [{"update": 1}, {"update": 2}]
    history.go_back(START)
    assert history.read() == []


@pytest.mark.parametrize("line", ["{", "[1]", "7", '{"loss": 1}', "\udcff"])
def test_a_damaged_line_is_refused(line: str, tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.path.write_bytes(f'{{"update": 1}}\n{line}\n{{"update": 2}}\n'.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"history\.jsonl: line 2 is damaged"):
        history.read()
