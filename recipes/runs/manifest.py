"""The manifest: the length and checksum of every file of a finished run that is read back.

`manifest.json` is written last, so a folder that has it is a finished run. Pages, pictures, the model card and event
files are not in it: a user may edit them.
"""

import json
import shutil
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from recipes.errors import UserError, unreadable
from recipes.runs.files import checksum, read_json, write_json

FILE = "manifest.json"
# What `config.yaml` and `history.jsonl` hold cannot be made again from a checkpoint.
IRREPLACEABLE = ("config.yaml", "inputs.json", "rows.json", "history.jsonl")
COVERED = (*IRREPLACEABLE, "metrics.json", "predictions", "model")
"""Files, and folders with all their files."""
CARD = "model/README.md"
CHECKPOINTS, MEMBERS = "checkpoints", "members"
"""Folders that an unfinished run needs, and a finished one only if it asks for them."""

Files = dict[str, Any]


def write(folder: Path, unneeded: Collection[str] = (), names: Collection[str] | None = None) -> None:
    """Write the manifest of a run folder: now it is finished. Then remove the folders that it no longer needs.

    If a kill comes in between, the manifest still names them, and `remove_unneeded` removes them later.

    Args:
        folder: the run folder.
        unneeded: `CHECKPOINTS`, `MEMBERS`, both or none.
        names: the files to cover; None: those of a run.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    files = {name: checksum(folder / name) for name in (_list_covered(folder) if names is None else names)}
    values = {"format": 1, "checksum": _checksum_of(files), "files": files, "unneeded": list(unneeded)}
    write_json(folder / FILE, values)
    remove_unneeded(folder)


def remove_unneeded(folder: Path) -> None:
    """Remove the folders that a finished run no longer needs.

    Raises:
        UserError: they cannot be removed.
    """
    for name in (CHECKPOINTS, MEMBERS):
        if is_unneeded(folder, name) and (folder / name).exists():
            try:
                shutil.rmtree(folder / name)
            except OSError as error:
                raise unreadable(str(folder / name), error) from error


def is_unneeded(folder: Path, name: str) -> bool:
    """Whether the manifest of a finished run says that it does not need a folder, which has been removed."""
    path = folder / FILE
    values = read_json(path) if path.exists() else None
    unneeded = values.get("unneeded", []) if isinstance(values, dict) else []
    return isinstance(unneeded, list) and name in unneeded


def remove(folder: Path) -> None:
    """Remove the manifest: a run that goes on is no longer finished."""
    (folder / FILE).unlink(missing_ok=True)


def read(folder: Path) -> Files | None:
    """Read the length and checksum of each file, by its path in the run folder; None if there is no manifest.

    Raises:
        UserError: the manifest is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    values = read_json(path)
    files = values.get("files") if isinstance(values, dict) else None
    if not isinstance(files, dict) or values.get("checksum") != _checksum_of(files):
        raise UserError(f"{path} is damaged. {_remedy(folder, FILE)}")
    return files


def checked(folder: Path, name: str) -> Path:
    """Compare a file of a run folder, or all files of a folder in it, with the manifest, and return its path.

    Without a manifest nothing is compared.

    Args:
        folder: the run folder.
        name: of the file or folder, from the run folder.

    Raises:
        UserError: a file is damaged or missing, or it is not in the manifest.
    """
    files, path = read(folder), folder / name
    if files is None:
        return path
    _compare(folder, {each: files[each] for each in files if each == name or each.startswith(f"{name}/")})
    # A file that was added, such as the settings of an adapter, may change what the others mean.
    for present in path.glob("[!.]*") if path.is_dir() else [path]:
        each = present.relative_to(folder).as_posix()
        if present.is_file() and each not in files and each != CARD:
            raise UserError(f"{present} is not in {folder / FILE}: it was added later. Move it out of the run folder.")
    return path


def check(folder: Path) -> None:
    """Compare all files of a finished run, and of the runs inside its folder, with their manifests.

    Raises:
        UserError: a file is damaged or missing.
    """
    for path in sorted(folder.rglob(FILE)):
        _compare(path.parent, read(path.parent) or {})


def _compare(folder: Path, files: Files) -> None:
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise damaged(folder, name, "is missing")
        if checksum(folder / name) != expected:
            raise damaged(folder, name, "is damaged: it has changed since the run was finished")


def damaged(folder: Path, name: str, problem: str) -> UserError:
    """The error for a damaged file of a run folder, with what to do.

    Args:
        folder: the run folder.
        name: of the file, from the run folder.
        problem: what is wrong, as the end of a sentence that begins with the file.
    """
    return UserError(f"{folder / name} {problem}. {_remedy(folder, name)}")


def _remedy(folder: Path, name: str) -> str:
    if name in IRREPLACEABLE:
        again = "start over with resume=false, which renames the old folder"
    else:
        marker = folder / (FILE if (folder / FILE).exists() else name)
        is_trained_again = not any((folder / CHECKPOINTS).glob("[0-9]*.safetensors"))
        consequence = "it is trained again" if is_trained_again else "only the finishing is redone"
        again = f"delete {marker} and start the same command again: {consequence}"
    return f"If the folder is a copy, copy it again. If it is not, {again}."


def _list_covered(folder: Path) -> list[str]:
    paths = [path for name in COVERED for path in (folder / name, *(folder / name).rglob("*"))]
    names = sorted(path.relative_to(folder).as_posix() for path in paths if path.is_file())
    return [name for name in names if name != CARD]


def _checksum_of(files: Files) -> str:
    return f"{zlib.crc32(json.dumps(files, sort_keys=True).encode()):08x}"
