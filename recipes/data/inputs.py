"""Fingerprints of what a run reads: data files, a local model, and the files and folders that its tricks name.

A run folder holds them in `inputs.json`. A file that changes under the same name is another input, so no result of the
old file is ever shown as one of the new file.
"""

import hashlib
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from recipes.config import Config, Data, as_values, saved_config, value_at
from recipes.data.cache import cache_folder
from recipes.data.paths import SPLITS
from recipes.errors import UserError
from recipes.runs.claim import changed_inputs, read_inputs
from recipes.runs.files import expand_home, write_json
from recipes.runs.folder import read_config

# Settings of tricks that name a file or a folder.
PATH_SETTING = re.compile(r"(.*_)?(file|folder|path|teacher|fusion)s?")
# A file may change twice within one tick of the file system's clock, so a file this fresh is hashed again.
FRESH_SECONDS = 2.0


def identify_inputs(config: Config) -> dict[str, str | None]:
    """Compute the fingerprint of each input, by the setting that names it.

    Data of the hub have the fingerprint of `datasets`, and the embedded data set has the version of Python. Opening the
    test file reveals nothing of it.

    Returns:
        The fingerprints; None for data of the hub that cannot be loaded now. Files that do not exist are left out.
    """
    inputs: dict[str, str | None] = {}
    if config.data.source == "pydocs":
        inputs["data"] = f"python:{sys.version}"
    if config.data.source == "hub":
        sources = {f"data.{name}": getattr(config.data, name) for name in SPLITS}
        sources |= {f"evaluate.extra.{name}": split for name, split in config.evaluate.extra.items()}
        inputs |= {path: _identify_split(config.data, path, split) for path, split in sources.items() if split}
    for setting, name in _local_paths(config):
        path = expand_home(name)
        if path.exists():
            inputs[setting] = fingerprint(path)
    return inputs


def _local_paths(config: Config) -> Iterator[tuple[str, str]]:
    """The settings that name a file or a folder, each with its value."""
    if config.data.source == "files":
        for name in SPLITS:
            if value := getattr(config.data, name):
                yield f"data.{name}", value
        for name, value in config.evaluate.extra.items():
            yield f"evaluate.extra.{name}", value
    if config.model.name:
        yield "model.name", config.model.name
    yield from _paths_of_tricks(as_values(config)["tricks"], "tricks")


def _paths_of_tricks(values: Any, setting: str) -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _paths_of_tricks(value, f"{setting}.{name}")
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from _paths_of_tricks(value, f"{setting}[{index}]")
    elif isinstance(values, str) and PATH_SETTING.fullmatch(setting.rpartition(".")[2].partition("[")[0]):
        yield setting, values


def _identify_split(settings: Data, setting: str, split: str) -> str | None:
    from recipes.data.sources import read_hub  # late: `datasets` takes half a second, and files need none of it

    try:
        rows = read_hub(settings, setting.rpartition(".")[2], split)
    except UserError:  # no network: the run goes on as far as it can
        return None
    return f"datasets:{rows._fingerprint}"


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file's bytes, or of all files of a folder; of a run folder only its models count.

    The result is cached by path, size and times of change in nanoseconds, so an unchanged file is not read again.

    Raises:
        UserError: the file cannot be read.
    """
    if path.is_dir():
        folder = path / "model" if (path / "model").is_dir() else path
        total = hashlib.sha256()
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            total.update(f"{file.relative_to(folder).as_posix()}\0{fingerprint(file)}\n".encode())
        for member in sorted(path.glob("members/*/*")):  # of an ensemble, whose own folder only names them
            total.update(f"{member.relative_to(path).as_posix()}\0{fingerprint(member)}\n".encode())
        return f"sha256:{total.hexdigest()}"
    path = path.resolve()
    status = path.stat()
    times = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    entry = cache_folder() / "fingerprints" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # no entry, or a damaged one
        cached = json.loads(entry.read_text(encoding="utf-8"))
        if cached["times"] == times:
            return str(cached["fingerprint"])
    with path.open("rb") as contents:
        digest = f"sha256:{hashlib.file_digest(contents, 'sha256').hexdigest()}"
    if time.time() - max(status.st_mtime, status.st_ctime) > FRESH_SECONDS:
        with suppress(UserError):  # a cache that cannot be written costs time only
            write_json(entry, {"times": times, "fingerprint": digest})
    return digest


def check_data(folder: Path) -> None:
    """Check that the data of the run in a folder are still those that it was started with.

    Raises:
        UserError: a file has changed or is gone; nothing is raised for a run from before inputs were recorded.
    """
    recorded, values = read_inputs(folder), read_config(folder)
    if recorded is None or values is None:
        return
    of_data = {setting: value for setting, value in recorded.items() if setting.partition(".")[0] == "data"}
    if changes := changed_inputs(of_data, identify_inputs(saved_config(values)), values):
        raise UserError(f"{folder}: since this run {', '.join(changes)}.")


def compare_inputs(folders: Iterable[Path]) -> list[Path]:
    """Check that runs which name the same file have read the same contents.

    Returns:
        For each set of inputs the first folder that has it.

    Raises:
        UserError: two runs have read different contents under one name.
    """
    first: dict[tuple[str, str], tuple[str, Path]] = {}
    for folder in folders:
        recorded, values = read_inputs(folder) or {}, read_config(folder) or {}
        for setting, value in recorded.items():
            name = str(value_at(values, setting))
            other, where = first.setdefault((setting, name), (value or "", folder))
            if value and other and value != other:
                raise UserError(
                    f"{setting}={name}: {where} and {folder} have read different contents of it, so their scores "
                    "cannot be compared. Train the older one again with resume=false."
                )
    return list(dict.fromkeys(where for _, where in first.values()))
