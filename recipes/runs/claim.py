"""Claim a run folder: it belongs to one config, one set of inputs, and one process at a time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from recipes.config import deciding_values, value_at
from recipes.errors import InputsChanged, UserError
from recipes.runs import manifest
from recipes.runs.files import (
    atomic_write,
    is_shared_folder,
    lock_folder,
    read_json,
    remove_drafts,
    remove_empty,
    write_json,
)
from recipes.runs.folder import OF_A_RUN, read_config
from recipes.runtime.program import name_command

INPUTS = "inputs.json"
TRACKERS = "trackers.json"
"""By which ids trackers know the run."""
# What a start writes before the run has any result.
START = ("config.yaml", INPUTS, TRACKERS, ".lock")
# What a run writes later; `members` are the runs of an ensemble.
RESULTS = (*OF_A_RUN, "members")
# What it would overwrite.
FILES = (INPUTS, "learning_curve.png", "confusion_matrix.png", "skipped.jsonl")
# Settings that every config has had.
ALWAYS = ("seed", "data", "model", "train")


class CheckpointsRemoved(UserError):
    """A finished run cannot be trained further, since it did not keep its checkpoints."""


@contextmanager
def claim(
    folder: Path, values: dict[str, Any], inputs: Mapping[str, str | None] | None = None, command: str = ""
) -> Iterator[None]:
    """Inside this context the folder belongs to a run of this config, and no other process works in it.

    With `resume=false` the folder of an old run is renamed first. A start that fails before it has a result leaves
    nothing behind, and restores the old folder.

    Args:
        folder: the run folder.
        values: the config as plain values.
        inputs: the fingerprints of what the run reads.
        command: what the user started, for the message.

    Raises:
        UserError: it holds a run with other values, another process works in it, or it cannot be written.
        CheckpointsRemoved: it holds a shorter run that is finished and cannot be trained further.
        InputsChanged: it holds a run of the same values that has read something else.
    """
    _refuse_other_folders(folder)
    before = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    busy = f"hydra.run.dir={folder}: another process is training there; wait for it, or name another folder."
    renamed = None
    if not values["resume"] and (folder / "config.yaml").exists():
        with lock_folder(folder, busy):
            renamed, before = _move_aside(folder), set()
    try:
        with lock_folder(folder, busy):
            try:
                config = deciding_values(values)
                # Nothing is written before both fit.
                previous = _read_fitting_config(folder, config)
                _check_inputs(folder, values, inputs or {}, command)
                _write_start(folder, config, previous, inputs)
                # From here on this is a run folder. A draft is nowhere else in it, and the user's own files stay.
                for run in (folder, *folder.glob("members/*/*")):
                    for name in ("", "checkpoints", "model", "predictions"):
                        remove_drafts(run / name)
                yield
            finally:
                if not has_results(folder):
                    _forget(folder, before, values["tricks"])
    finally:
        if renamed is not None and not folder.exists():
            renamed.rename(folder)


def has_results(folder: Path) -> bool:
    """Whether the run in a folder has got further than its start."""
    return any((folder / name).exists() for name in RESULTS)


def _forget(folder: Path, before: Collection[str], tricks: Collection[str]) -> None:
    """Remove what a start wrote that came to nothing, but no file of others.

    Args:
        folder: the run folder.
        before: the names that were in it before the start.
        tricks: a file that a trick writes has its name.
    """
    files = {*START, *(path.name for name in tricks for path in folder.glob(f"{name}.*"))}
    events = [path.name for path in folder.glob("events.out.tfevents.*")]
    # A start that was killed has left its files here; they begin with the config.
    left = files if "config.yaml" in before else set()
    for name in {*files, *events} - ({*before} - left):
        with suppress(OSError):  # the error that came before is the one to report
            (folder / name).unlink(missing_ok=True)
    remove_empty(folder)


def _refuse_other_folders(folder: Path) -> None:
    """Refuse a run folder that is no folder of its own, or that holds something else.

    Raises:
        UserError: it is the working folder or one above it, the home folder, the checkout, or has other contents.
    """
    if is_shared_folder(folder):
        raise UserError(
            f"hydra.run.dir={folder}: a run needs a folder of its own; name a new one, such as "
            "hydra.run.dir=runs/mine, or leave hydra.run.dir out."
        )
    if links := [name for name in RESULTS if (folder / name).is_symlink()]:
        raise UserError(
            f"hydra.run.dir={folder}: {links[0]} in it is a link, and a run writes into its own folder only; name "
            "another folder, or put the files in place of the link."
        )
    if (folder / "config.yaml").exists():
        if not _is_config_of_a_run(folder):
            raise UserError(
                f"hydra.run.dir={folder}: its config.yaml is not of a run; name a folder of its own, such as "
                "hydra.run.dir=runs/mine."
            )
    elif foreign := [name for name in (*RESULTS, *FILES) if (folder / name).exists()]:
        raise UserError(
            f"hydra.run.dir={folder}: it holds {foreign[0]} but no config.yaml of a run; name another folder, or move "
            "it away."
        )


def _is_config_of_a_run(folder: Path) -> bool:
    """Whether `config.yaml` holds the settings of a run, or is the damaged one of a folder with results of a run."""
    try:
        values = yaml.safe_load((folder / "config.yaml").read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, OSError):
        values = None
    if isinstance(values, dict):
        return all(name in values for name in ALWAYS)
    return has_results(folder)


def _read_fitting_config(folder: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Read the config of the run in the folder, and check that this run can go on with it; None if it has no result."""
    previous = read_config(folder)
    if previous is None or not has_results(folder):
        return None
    changes = list(differences(previous, config, ""))
    if changes and _is_only_longer(previous, changes):
        _require_checkpoints(folder)
    elif changes:
        listing = "; ".join(f"{path}: {old} there, {new} here" for path, old, new in changes)
        raise UserError(
            f"hydra.run.dir={folder} holds a run with other values ({listing}). Name another folder, start over "
            "with resume=false, or give it the same values. More epochs or updates are allowed with "
            "train.schedule=constant, train.warmup=0 and no tricks."
        )
    return previous


def _require_checkpoints(folder: Path) -> None:
    """Refuse to train a finished run further whose checkpoints are gone.

    Raises:
        CheckpointsRemoved: they are.
    """
    if manifest.is_unneeded(folder, manifest.CHECKPOINTS):
        raise CheckpointsRemoved(
            f"hydra.run.dir={folder}: this run is finished, and its checkpoints are removed, so it cannot be trained "
            "further. Start over with resume=false and checkpoint.after_finish=keep, which keeps them."
        )


def _check_inputs(folder: Path, values: Mapping[str, Any], inputs: Mapping[str, str | None], command: str) -> None:
    """Check that the run in the folder has read what this one would read.

    Raises:
        InputsChanged: a file or folder has other contents now, or is gone.
    """
    # A run from before inputs were recorded can say nothing about them.
    recorded = (read_inputs(folder) if inputs and has_results(folder) else None) or {}
    if changes := changed_inputs(recorded, inputs, values):
        raise InputsChanged(
            f"{folder}: since this run {', '.join(changes)}. To see the old result: {name_command('report')} {folder}. "
            f"To train on what is there now: {command}, which renames the old folder."
        )


def _write_start(
    folder: Path, config: dict[str, Any], previous: dict[str, Any] | None, inputs: Mapping[str, str | None] | None
) -> None:
    """Write the config and the inputs of a run that begins, or the config of one that goes on for longer."""
    if previous == config:
        return
    if previous is not None:  # it is no longer finished
        manifest.remove(folder)
        (folder / "metrics.json").unlink(missing_ok=True)
    elif inputs is not None:
        write_json(folder / INPUTS, inputs)
    with atomic_write(folder / "config.yaml") as draft:
        draft.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def read_inputs(folder: Path) -> dict[str, str | None] | None:
    """Read the fingerprints of the inputs of a run; None for a run from before they were recorded.

    Raises:
        UserError: the file is damaged.
    """
    path = manifest.checked(folder, INPUTS)
    if not path.exists():
        return None
    inputs = read_json(path)
    if not isinstance(inputs, dict):
        raise manifest.damaged(folder, INPUTS, "is damaged")
    return inputs


def changed_inputs(
    recorded: Mapping[str, str | None], inputs: Mapping[str, str | None], values: Mapping[str, Any]
) -> list[str]:
    """Describe each recorded input that is another one now, or is gone.

    Args:
        recorded: fingerprints of the run in a folder, by setting.
        inputs: fingerprints now.
        values: the config, which names the inputs.
    """
    changes = []
    for setting, old in recorded.items():
        name = value_at(values, setting)
        subject = (
            f"{setting}={name}" if isinstance(name, str) else "the Python version" if setting == "data" else setting
        )
        if setting not in inputs:
            changes.append(f"{subject} has gone")
        elif old is not None and inputs[setting] is not None and old != inputs[setting]:
            changes.append(f"{subject} has changed")
    return changes


def _is_only_longer(previous: dict[str, Any], changes: Sequence[tuple[str, Any, Any]]) -> bool:
    """Whether the new run repeats the previous one and then trains on.

    That holds only if no learning rate and no trick depends on where the run ends.
    """
    train = [value_at(previous, f"train.{name}") for name in ("schedule", "warmup")]
    is_independent_of_end = train == ["constant", 0] and value_at(previous, "tricks") == {}
    return is_independent_of_end and all(
        path in ("train.epochs", "train.max_updates") and None not in (old, new) and new > old
        for path, old, new in changes
    )


def _move_aside(folder: Path) -> Path:
    """Rename a folder to `<name>.old1`, or the next number that is free; return the new path."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    return folder.rename(target)


def differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield where two trees of values differ: the dotted path, the old value and the new value, None if missing."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif old != new:
        yield path, old, new
