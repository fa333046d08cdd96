"""Files that are written completely or not at all, and folders that one process at a time works in."""

import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from recipes.errors import UserError, disk_error, unreadable
from recipes.runtime.program import ROOT

BLOCK = 1 << 20
"""Bytes that are read at a time."""
OF_A_SWEEP = "multirun.yaml"
"""What Hydra writes next to the runs of a sweep."""
DRAFT_ENDING = ".trickbook-draft"
"""The end of the name of a draft; no other program makes such files."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a draft path, and move the draft to `path` once all of it is on disk.

    The draft may be a file or a folder. An exception leaves the old file or folder as it was.

        with atomic_write(folder / "metrics.json") as draft:
            draft.write_text("{}")

    Raises:
        UserError: the disk is full or the folder cannot be written; no incomplete file is left.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}{DRAFT_ENDING}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _flush(draft)
        # A folder cannot be replaced while it has files in it. A file never replaces a folder.
        if path.is_dir() and draft.is_dir():
            shutil.rmtree(path)
        draft.replace(path)
    except OSError as error:
        raise unreadable(str(path), error) from error
    except SafetensorError as error:  # safetensors has an error of its own for a full disk
        raise disk_error(str(path), str(error)) from error
    finally:
        remove_draft(draft)


def expand_home(name: str) -> Path:
    """A path with `~` expanded. `Path.expanduser` raises where `~name` is a file and no user."""
    return Path(os.path.expanduser(name))


def remove_draft(draft: Path) -> None:
    """Remove the draft of a file or a folder, if there is one."""
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):  # the error that came before is the one to report
            draft.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove a run folder that is empty, and the folder of runs above it if it holds nothing of a run either."""
    with suppress(OSError):  # not empty, or not there
        folder.rmdir()
        names = [path.name for path in folder.parent.iterdir()]
        if names == [OF_A_SWEEP]:
            (folder.parent / OF_A_SWEEP).unlink()
        if names == [OF_A_SWEEP] or folder.parent.name == "runs":
            folder.parent.rmdir()


def is_shared_folder(folder: Path) -> bool:
    """Whether other things live in a folder: the working folder, one above it, the home folder, or the checkout."""
    here = Path.cwd()
    return folder.resolve() in (here, *here.parents, Path.home(), ROOT)


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """At the end of this context a folder that nothing was written into is removed."""
    try:
        yield
    finally:
        remove_empty(folder)


def remove_drafts(folder: Path) -> None:
    """Remove the drafts in a folder, but not in those inside it, that a killed process has left."""
    for path in folder.glob(f".*{DRAFT_ENDING}"):
        if re.fullmatch(rf"\..+\.\d+{re.escape(DRAFT_ENDING)}", path.name):
            remove_draft(path)


def _flush(path: Path) -> None:
    for entry in path.rglob("*") if path.is_dir() else [path]:
        if entry.is_file():
            with entry.open("rb+") as file:  # Windows flushes only what may be written
                os.fsync(file.fileno())


def checksum(path: Path, length: int | None = None) -> dict[str, Any]:
    """Compute the length and the CRC-32 of a file, or of its first `length` bytes.

    CRC-32 finds every error of up to 32 bits in a row. It is no protection against an attacker.

    Raises:
        UserError: the file cannot be read.
    """
    size, value = 0, 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK if length is None else min(BLOCK, length - size)):
                size, value = size + len(block), zlib.crc32(block, value)
    except OSError as error:
        raise unreadable(str(path), error) from error
    return {"bytes": size, "crc32": f"{value:08x}"}


def read_json(path: Path) -> Any:
    """Read a JSON file; None if it holds no JSON.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise unreadable(str(path), error) from error


def write_json(path: Path, values: Any) -> None:
    """Write indented JSON.

    Raises:
        ValueError: a number is NaN or inf, which JSON does not have.
        UserError: the file cannot be written.
    """
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def lock_folder(folder: Path, busy: str) -> Iterator[None]:
    """Inside this context no other process can lock the folder, which is made if it does not exist.

    Args:
        folder: the folder to lock.
        busy: the message of the error if another process has locked it.

    Raises:
        UserError: another process has locked the folder, or it cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(NotImplementedError):  # a file system that has no locks
            lock.acquire()
    except Timeout as error:
        raise UserError(busy) from error
    except OSError as error:
        raise unreadable(str(folder), error) from error
    try:
        yield
    finally:
        lock.release()
