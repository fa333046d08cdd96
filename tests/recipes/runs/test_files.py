"""Writing a file or folder completely or not at all, and locking a folder."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from recipes.errors import UserError
from recipes.runs.files import (
    atomic_write,
    checksum,
    expand_home,
    lock_folder,
    read_json,
    remove_draft,
    remove_empty,
    write_json,
)

Write = Callable[[str, str], Path]


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_gets_its_name_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path) as draft:
        draft.write_text("half")
        assert not path.exists()
        draft.write_text("all")
    assert path.read_text() == "all"
    assert list_names(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_an_exception_leaves_the_old_file(error: BaseException, write: Write) -> None:
    path = write("a.txt", "old")
    with pytest.raises(type(error)), atomic_write(path) as draft:
        draft.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list_names(path.parent) == ["a.txt"]


def test_an_exception_leaves_the_old_folder(write: Write) -> None:
    old = write("model/weights", "old").parent
    with pytest.raises(ValueError), atomic_write(old) as draft:
        draft.mkdir()
        (draft / "weights").write_text("half")
        raise ValueError
    assert (old / "weights").read_text() == "old"
    with atomic_write(old) as draft:
        draft.mkdir()
        (draft / "other").write_text("new")
    assert list_names(old.parent) == ["model", "other"]


def test_a_file_never_replaces_a_folder(write: Write) -> None:
    theirs = write("report/mine.txt", "mine")
    with pytest.raises(UserError, match="report: Is a directory"), atomic_write(theirs.parent) as draft:
        draft.write_text("page")
    assert list_names(theirs.parents[1]) == ["mine.txt", "report"]


def test_a_full_disk_is_a_user_error(write: Write) -> None:
    path = write("a.txt", "old")
    with pytest.raises(UserError, match=r"a\.txt: No space left on device\."), atomic_write(path) as draft:
        draft.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list_names(path.parent) == ["a.txt"]
    with (
        pytest.raises(UserError, match="a file stands where a folder should be"),
        atomic_write(path / "b.txt") as draft,
    ):
        draft.write_text("")


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 0.5, "名": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 0.5, "名": None}
    assert "名" in (tmp_path / "a.json").read_text()
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text())["a"] == 0.5


def test_a_draft_is_removed_whether_file_or_folder(write: Write) -> None:
    file = write(".a.tmp", "draft")
    folder = write(".b.tmp/weights", "draft").parent
    for draft in (file, folder, file.with_name("missing")):
        remove_draft(draft)
    assert list_names(file.parent) == []


def test_a_folder_is_locked_by_one_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with lock_folder(folder, "busy"), pytest.raises(UserError, match="^busy$"), lock_folder(folder, "busy"):
        pass
    with pytest.raises(ValueError, match="inside"), lock_folder(folder, "busy"):
        raise ValueError("inside")
    with lock_folder(folder, "busy"):
        assert folder.is_dir()


def test_a_folder_that_cannot_be_made_is_a_user_error(write: Write) -> None:
    with (
        pytest.raises(UserError, match="a file stands where a folder should be"),
        lock_folder(write("a", "") / "b", ""),
    ):
        pass


def test_an_error_of_safetensors_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a: no space\."), atomic_write(tmp_path / "a"):
        raise SafetensorError("no space")


def test_checksums_of_a_file_and_of_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123456789 and more")
    assert checksum(tmp_path / "a", 9) == {"bytes": 9, "crc32": "cbf43926"}  # the check value of CRC-32
    assert checksum(tmp_path / "a")["bytes"] == 18
    assert checksum(tmp_path / "a", 99) == checksum(tmp_path / "a")
    with pytest.raises(UserError, match="none: No such file"):
        checksum(tmp_path / "none")


@pytest.mark.parametrize(("text", "values"), [(b'{"a": 1}', {"a": 1}), (b"{", None), (b"", None), (b"\xff", None)])
def test_json_that_is_none_is_read_as_none(text: bytes, values: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(text)
    assert read_json(tmp_path / "a") == values
    with pytest.raises(UserError, match="Is a directory"):
        read_json(tmp_path)


def test_an_empty_run_folder_goes_with_the_empty_folder_of_runs(tmp_path: Path, write: Write) -> None:
    for name in ("runs/a", "sweep/a", "mine/a", "runs2/a"):
        (tmp_path / name).mkdir(parents=True)
    write("sweep/multirun.yaml", "")
    write("runs2/multirun.yaml", "")
    write("runs2/a/file", "")
    for name in ("runs/a", "sweep/a", "mine/a", "runs2/a", "nowhere/a"):
        remove_empty(tmp_path / name)
    assert list_names(tmp_path) == ["a", "file", "mine", "multirun.yaml", "runs2"]


def test_a_name_that_begins_like_a_home_folder_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_home("~/a.csv") == tmp_path / "a.csv"
    assert expand_home("~no-such-user.csv") == Path("~no-such-user.csv")
