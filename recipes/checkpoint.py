"""Checkpoints: one safetensors file each, with a checksum, written whole or not at all.

`checkpoints/00000120.safetensors` holds all that the next update depends on: weights, the optimizer's state, each
trick's state, and in its header the counters as JSON. `checkpoints/best.safetensors` holds the best weights so far.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from recipes.errors import UserError
from recipes.folder import written

if TYPE_CHECKING:
    from recipes.loop import Run
    from recipes.trick import Trick

BEST = "best"
TRICKS = "tricks.safetensors"

# What a checkpoint counts; everything else is a tensor, or follows from the config. `batches_done` is where the run
# stands; `updates` are the steps that happened, which are fewer where a 16-bit step overflowed and was skipped.
COUNTERS = ("updates", "skipped", "batches_done", "rows_passed", "parts_passed", "since_best", "best", "seconds")


def state(run: "Run") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that the next update depends on: tensors and JSON values by name."""
    optimizer = flatten_optimizer(run.optimizer)
    tensors, states = _states_of(run.tricks)
    tensors |= {f"model.{name}": tensor for name, tensor in run.bare_model.state_dict().items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.items()}
    counters = {"data": run.fingerprint, **{name: getattr(run, name) for name in COUNTERS}}
    scaler = run.accelerator.scaler
    return tensors, {**counters, "scaler": scaler and scaler.state_dict(), "tricks": states}


def restore(run: "Run", tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
    """Take back what `state` gave.

    Raises:
        UserError: it was given over other data.
    """
    if counters["data"] != run.fingerprint:
        raise other_rows(run.folder)
    run.bare_model.load_state_dict(inside(tensors, "model."))
    restore_optimizer(run.optimizer, inside(tensors, "optimizer."))
    for name in COUNTERS:
        setattr(run, name, counters[name])
    if run.accelerator.scaler:
        run.accelerator.scaler.load_state_dict(counters["scaler"])
    device = run.accelerator.device
    held = {name: tensor.to(device) for name, tensor in tensors.items() if name.startswith("trick.")}
    _give_back(run.tricks, held, counters["tricks"])


def other_rows(folder: Path) -> UserError:
    """That a folder was begun over other data."""
    return UserError(
        f"the data has changed since {folder} was begun (its training or validation rows are others); start over with "
        "resume=false, or name another folder with hydra.run.dir=<folder>."
    )


def write_tricks(folder: Path, tricks: Mapping[str, "Trick"]) -> None:
    """Write beside a model what predicting with it needs of the tricks; nothing if they have no state."""
    tensors, states = _states_of(tricks)
    if tensors or any(states.values()):
        write(folder / TRICKS, tensors, states)


def read_tricks(folder: Path, tricks: Mapping[str, "Trick"]) -> None:
    """Give the tricks back what `write_tricks` wrote.

    Raises:
        UserError: the file is damaged.
    """
    if not (folder / TRICKS).exists():
        return
    found = read(folder / TRICKS)
    if found is None:
        raise UserError(f"{folder / TRICKS} is damaged; train again with resume=false.")
    _give_back(tricks, *found)


def _states_of(tricks: Mapping[str, "Trick"]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    states: dict[str, Any] = {}
    for name, trick in tricks.items():
        held = trick.state()
        tensors |= {f"trick.{name}.{key}": each for key, each in held.items() if isinstance(each, Tensor)}
        states[name] = {key: each for key, each in held.items() if not isinstance(each, Tensor)}
    return tensors, states


def _give_back(tricks: Mapping[str, "Trick"], tensors: Mapping[str, Tensor], states: Mapping[str, Any]) -> None:
    for name, values in states.items():
        tricks[name].load({**values, **inside(tensors, f"trick.{name}.")})


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
    with written(path) as draft:
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


def flatten_optimizer(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors by name; its settings follow from the config."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value) for number, values in state.items() for name, value in values.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `flatten_optimizer` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, _, name = path.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


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
