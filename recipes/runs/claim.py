"""Claim a run folder: it belongs to one config, one set of inputs, and one process at a time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from recipes.config import UNDECIDING, value_at
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

INPUTS = "inputs.json"
# What a start writes before the run has any result.
START = ("config.yaml", INPUTS, ".lock")
# What a run writes later; `members` are the runs of an ensemble.
RESULTS = (*OF_A_RUN, "members")
# Settings that every config has had.
ALWAYS = ("seed", "data", "model", "train")


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
        InputsChanged: it holds a run of the same values that has read something else.
    """
    _refuse_other_folders(folder)
    busy = f"hydra.run.dir={folder}: another process is training there; wait for it, or name another folder."
    renamed = None
    if not values["resume"] and (folder / "config.yaml").exists():
        with lock_folder(folder, busy):
            renamed = _move_aside(folder)
    try:
        with lock_folder(folder, busy):
            try:
                _settle_config(folder, {name: value for name, value in values.items() if name not in UNDECIDING})
                _settle_inputs(folder, values, inputs, command)
                # From here on this is a run folder. A draft is nowhere else in it, and the user's own files stay.
                for run in (folder, *folder.glob("members/*/*")):
                    for name in ("", "checkpoints", "model", "predictions"):
                        remove_drafts(run / name)
                yield
            finally:
                if not has_results(folder):
                    _forget(folder)
    finally:
        if renamed is not None and not folder.exists():
            renamed.rename(folder)


def has_results(folder: Path) -> bool:
    """Whether the run in a folder has got further than its start."""
    return any((folder / name).exists() for name in RESULTS)


def _forget(folder: Path) -> None:
    """Remove what a start wrote that came to nothing."""
    events = [path.name for path in folder.glob("events.out.tfevents.*")]
    for name in (*START, *events):
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
    if (folder / "config.yaml").exists():
        if not _is_config_of_a_run(folder):
            raise UserError(
                f"hydra.run.dir={folder}: its config.yaml is not of a run; name a folder of its own, such as "
                "hydra.run.dir=runs/mine."
            )
    elif foreign := [name for name in RESULTS if (folder / name).exists()]:
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


def _settle_config(folder: Path, config: dict[str, Any]) -> None:
    """Write the config of a new run, or check that the run in the folder can go on with it."""
    previous = read_config(folder)
    if previous == config:
        return
    if previous is not None and has_results(folder):
        changes = list(differences(previous, config, ""))
        if not _is_only_longer(previous, changes):
            listing = "; ".join(f"{path}: {old} there, {new} here" for path, old, new in changes)
            raise UserError(
                f"hydra.run.dir={folder} holds a run with other values ({listing}). Name another folder, start over "
                "with resume=false, or give it the same values. More epochs or updates are allowed with "
                "train.schedule=constant, train.warmup=0 and no tricks."
            )
        # The run goes on, so it is no longer finished.
        manifest.remove(folder)
        (folder / "metrics.json").unlink(missing_ok=True)
    with atomic_write(folder / "config.yaml") as draft:
        draft.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _settle_inputs(
    folder: Path, values: Mapping[str, Any], inputs: Mapping[str, str | None] | None, command: str
) -> None:
    """Write the fingerprints of a new run's inputs, or check that the run in the folder has read the same ones."""
    if inputs is None:
        return
    recorded = read_inputs(folder)
    if recorded is None or not has_results(folder):
        # A run from before inputs were recorded can say nothing about them.
        if not has_results(folder):
            write_json(folder / INPUTS, inputs)
        return
    if changes := changed_inputs(recorded, inputs, values):
        raise InputsChanged(
            f"{folder}: since this run {', '.join(changes)}. To see the old result: python scripts/report.py {folder}. "
            f"To train on what is there now: {command}, which renames the old folder."
        )


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
