"""Checkpoints: one safetensors file each, with a checksum, written completely or not at all.

`checkpoints/00000120.safetensors` holds all that the next update depends on (`recipes/state.py`): tensors, and in its
header a checksum and the counters as JSON. `checkpoints/best.safetensors` holds the best weights so far.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recipes.errors import UserError
from recipes.runs.files import atomic_write, remove_draft
from recipes.runs.history import START, History

BEST = "best"


def _checksum(tensors: Mapping[str, Tensor], counters: str) -> int:
    value = zlib.crc32(counters.encode())
    for name in sorted(tensors):
        contents: Any = tensors[name].reshape(-1).view(torch.uint8).numpy()
        value = zlib.crc32(contents, zlib.crc32(name.encode(), value))
    return value


def write(path: Path, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
    """Write tensors and JSON values as one file.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Tied weights share memory, but safetensors wants each tensor to own its memory.
    addresses: set[int] = set()
    for name, tensor in on_cpu.items():
        if tensor.data_ptr() in addresses:
            on_cpu[name] = tensor.clone()
        addresses.add(tensor.data_ptr())
    counters_json = json.dumps(counters)
    # One entry, since safetensors writes more than one in any order, and a repeated run makes the same bytes.
    header = {"state": f"{_checksum(on_cpu, counters_json)} {counters_json}"}
    with atomic_write(path) as draft:
        save_file(on_cpu, draft, metadata=header)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the tensors and JSON values of a file; None if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError):
        return None
    checksum, _, counters_json = header.get("state", "").partition(" ")
    if "counters" in header:  # an earlier version
        checksum, counters_json = header.get("checksum", ""), header["counters"]
    if checksum != str(_checksum(tensors, counters_json)):
        return None
    return tensors, json.loads(counters_json)


def inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the tensors whose name begins with a prefix, and remove it from their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: the folder of the checkpoint files.
        keep: how many of the newest checkpoints stay; the best weights are not counted.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def all(self) -> list[Path]:
        """Every checkpoint, oldest first."""
        return sorted(path for path in self.folder.glob("*.safetensors") if path.stem.isdecimal())

    def save(self, updates: int, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        """Write a checkpoint, then remove the oldest ones beyond `keep`."""
        # In this order a kill never leaves a run without a complete checkpoint.
        write(self.folder / f"{updates:08d}.safetensors", tensors, counters)
        for path in self.all()[: -self.keep]:
            path.unlink(missing_ok=True)

    def newest(self, history: History) -> tuple[dict[str, Tensor] | None, dict[str, Any], list[str]]:
        """Read the newest undamaged checkpoint, and remove the damaged ones after it.

        A checkpoint is of no use without the history up to it, so those after the damage are removed too.

        Args:
            history: the history that the checkpoints have marked.

        Returns:
            Its tensors, or None if there is no checkpoint; its counters; a note on each checkpoint that was removed.

        Raises:
            UserError: the history is damaged before the end of every checkpoint.
        """
        notes: dict[Path, str] = {}
        is_history_damaged = False
        for path in reversed(self.all()):
            checkpoint = read(path)
            if checkpoint is None:
                notes[path] = f"checkpoint {path.name} is damaged and was removed; going on from the one before."
            elif not history.begins_with(checkpoint[1].get("history", START)):
                is_history_damaged = True
                notes[path] = (
                    f"{history.path.name} is damaged before the end of checkpoint {path.name}, which was removed; "
                    "going on from the one before."
                )
            else:
                break
        else:
            checkpoint = None
            if is_history_damaged:
                raise UserError(
                    f"{history.path} is damaged before the end of every checkpoint. Restore the file, or start over "
                    "with resume=false, which renames the old folder."
                )
        for path in notes:
            remove_draft(path)
        return *(checkpoint or (None, {})), list(notes.values())

    def save_best(self, update: int, weights: Mapping[str, Tensor]) -> None:
        """Save the best weights so far, with the update that they come from."""
        write(self.folder / f"{BEST}.safetensors", weights, {"update": update})

    def has_best(self, update: int, position: int) -> bool:
        """Whether a resumed run can use the file of the best weights.

        The file may hold the weights after `update`. It may also hold weights from after `position`, where the run goes
        on: the repeated updates save the same weights again.

        Args:
            update: the update with the best score, as the checkpoint knows it.
            position: the update that the run goes on from.
        """
        checkpoint = read(self.folder / f"{BEST}.safetensors")
        return checkpoint is not None and (checkpoint[1]["update"] == update or checkpoint[1]["update"] > position)

    def best(self) -> dict[str, Tensor]:
        """Read the best weights.

        Raises:
            UserError: the file is damaged or missing.
        """
        checkpoint = read(self.folder / f"{BEST}.safetensors")
        if checkpoint is None:
            raise UserError(f"{self.folder / BEST}.safetensors is damaged or missing; start over with resume=false.")
        return checkpoint[0]
