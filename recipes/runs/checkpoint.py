"""Checkpoints: one safetensors file each, with a checksum, written completely or not at all.

`checkpoints/00000120.safetensors` holds all that the next update depends on (`recipes/state.py`): tensors, and in its
header the counters as JSON. `checkpoints/best.safetensors` holds the best weights so far.
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
from recipes.runs.files import atomic_write

BEST = "best"


def _checksum(tensors: Mapping[str, Tensor], counters: str) -> int:
    value = zlib.crc32(counters.encode())
    for name in sorted(tensors):
        contents: Any = tensors[name].reshape(-1).view(torch.uint8).numpy()
        value = zlib.crc32(contents, zlib.crc32(name.encode(), value))
    return value


def write(path: Path, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
    """Write tensors and JSON values as one file."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    seen: set[int] = set()
    for name, tensor in on_cpu.items():
        if tensor.data_ptr() in seen:  # tied weights: the format wants each tensor to own its memory
            on_cpu[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    told = json.dumps(counters)
    header = {"counters": told, "checksum": str(_checksum(on_cpu, told))}
    with atomic_write(path) as draft:
        try:
            save_file(on_cpu, draft, metadata=header)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and JSON values of a file; None if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError):
        return None
    counters = header.get("counters", "")
    if header.get("checksum") != str(_checksum(tensors, counters)):
        return None
    return tensors, json.loads(counters)


def inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they stand.
        keep: how many stay, beside the best weights.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        """Nothing is read or written yet."""
        self.folder, self.keep = folder, keep

    def all(self) -> list[Path]:
        """Every checkpoint, oldest first."""
        return sorted(path for path in self.folder.glob("*.safetensors") if path.stem.isdecimal())

    def save(self, updates: int, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        """Write one and remove what is too many; the older ones go only when the new one is whole."""
        write(self.folder / f"{updates:08d}.safetensors", tensors, counters)
        for path in self.all()[: -self.keep]:
            path.unlink(missing_ok=True)

    def newest(self) -> tuple[dict[str, Tensor] | None, dict[str, Any], list[str]]:
        """The newest whole checkpoint, its counters, and a note on each damaged one that was passed over."""
        notes: list[str] = []
        for path in reversed(self.all()):
            if (found := read(path)) is not None:
                return *found, notes
            notes.append(f"checkpoint {path.name} is damaged and was removed; going on from the one before.")
            path.unlink(missing_ok=True)
        return None, {}, notes

    def save_best(self, update: int, weights: Mapping[str, Tensor]) -> None:
        """Keep the best weights so far, those after an update."""
        write(self.folder / f"{BEST}.safetensors", weights, {"update": update})

    def has_best(self, update: int, position: int) -> bool:
        """Whether the best weights are there: those after `update`, or later ones, found again after `position`."""
        found = read(self.folder / f"{BEST}.safetensors")
        return found is not None and (found[1]["update"] == update or found[1]["update"] > position)

    def best(self) -> dict[str, Tensor]:
        """The best weights.

        Raises:
            UserError: the file is damaged or gone.
        """
        found = read(self.folder / f"{BEST}.safetensors")
        if found is None:
            raise UserError(f"{self.folder / BEST}.safetensors is damaged or missing; start over with resume=false.")
        return found[0]
