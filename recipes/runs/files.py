"""Files that are written completely or not at all, and folders that one process at a time works in."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recipes.errors import UserError, unreadable


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to that takes the given name only when all of it is on disk.

    Raises:
        UserError: the disk is full or the folder cannot be written; nothing half-written is left.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _flush(draft)
        if path.is_dir():
            shutil.rmtree(path)
        draft.replace(path)
    except OSError as error:
        raise unreadable(str(path), error) from error
    finally:
        _remove(draft)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):  # what went wrong before is what is told
            draft.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    for entry in path.rglob("*") if path.is_dir() else [path]:
        if entry.is_file():
            descriptor = os.open(entry, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def write_json(path: Path, values: Any) -> None:
    """Write JSON that a person can read."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def lock_folder(folder: Path, busy: str) -> Iterator[None]:
    """Inside this context a folder, which is made if need be, is this process's alone.

    Raises:
        UserError: with `busy`, another process has it; or it cannot be written.
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
