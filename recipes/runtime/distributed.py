"""Processes that train one run together (torchrun), and the threads of each process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recipes.errors import UserError
from recipes.runtime.program import name_command

# Late imports in this module: a finished run is shown without torch, which takes seconds.
if TYPE_CHECKING:
    from accelerate import PartialState


def is_first() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def uses_cpu(device: str) -> bool:
    """Whether `train.device` means the CPU for the processes of torchrun, or for the only process.

    Without a GPU, the processes find each other only if accelerate is asked for the CPU.
    """
    if device != "auto" or "RANK" not in os.environ:
        return device == "cpu"
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator is None or accelerator.type == "mps"


def connect(device: str) -> "PartialState":
    """Connect the processes that torchrun started.

    Args:
        device: the value of `train.device`.

    Raises:
        UserError: they cannot work together on this device.
    """
    import torch
    from accelerate import PartialState

    local, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if not uses_cpu(device) and 0 < gpus < local:
        raise UserError(
            f"torchrun has started {local} processes on this machine, which has fewer GPUs ({gpus}); start it with "
            f"--nproc-per-node={gpus}, or set train.device=cpu."
        )
    state = PartialState(cpu=uses_cpu(device))
    if state.num_processes != int(os.environ.get("WORLD_SIZE", "1")):
        raise UserError(
            f"train.device={device}: the processes of torchrun cannot work together on it here; set train.device=auto, "
            f"or start one process with {name_command('train')}."
        )
    return state


def say(text: str) -> None:
    """Print a line in the first process only."""
    if is_first():
        # At once, also where the output is a file or a pipe.
        print(text, flush=True)


def wait_for_all() -> None:
    """Wait until every process has called this; a single process goes on at once."""
    if "RANK" in os.environ:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Inside this context torch computes on `count` threads; None: the number stays as it is."""
    import torch

    before = torch.get_num_threads()
    if count is not None and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@contextmanager
def preserved_accelerate() -> Iterator[None]:
    """Restore the state of accelerate on exit: it is global, and the program that called may have its own.

    Processes of torchrun stay connected.
    """
    from accelerate.state import AcceleratorState, GradientState, PartialState

    if "RANK" in os.environ:
        yield
        return
    holders: list[Any] = [PartialState, AcceleratorState, GradientState]
    before = [dict(holder._shared_state) for holder in holders]
    try:
        yield
    finally:
        for holder, state in zip(holders, before, strict=True):
            holder._shared_state.clear()
            holder._shared_state.update(state)
