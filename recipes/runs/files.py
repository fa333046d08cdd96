"""Files that are written completely or not at all, and folders that one process at a time works in."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recipes.errors import UserError, unreadable

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
        # A folder cannot be replaced while it has files in it; a file never replaces a folder.
        if path.is_dir() and draft.is_dir():
            shutil.rmtree(path)
        draft.replace(path)
    except OSError as error:
        raise unreadable(str(path), error) from error
    finally:
        remove_draft(draft)


def remove_draft(draft: Path) -> None:
    """Remove the draft of a file or a folder, if there is one."""
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):  # the error that came before is the one to report
            draft.unlink(missing_ok=True)


def remove_drafts(folder: Path) -> None:
    """Remove the drafts in a folder, but not in those inside it, that a killed process has left."""
    for path in folder.glob(f".*{DRAFT_ENDING}"):
        if re.fullmatch(rf"\..+\.\d+{re.escape(DRAFT_ENDING)}", path.name):
            remove_draft(path)


def _flush(path: Path) -> None:
    for entry in path.rglob("*") if path.is_dir() else [path]:
        if entry.is_file():
            descriptor = os.open(entry, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


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
