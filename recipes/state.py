"""What a checkpoint holds of a run and of its tricks, and what the parts of the loop share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor
from torch.optim import Optimizer

from recipes.errors import UserError
from recipes.graphs.parts import Parts
from recipes.runs import checkpoint
from recipes.runs.checkpoint import inside
from recipes.runs.history import History
from recipes.runtime.steps import StepCount
from recipes.trick import Run, Trick

TRICKS = "tricks.safetensors"


class LiveRun(Run):
    """A run as the parts of the loop see it: what tricks may ask, and the loop's own state."""

    optimizer: AcceleratedOptimizer
    notes: list[str]
    """Lines of the header."""
    history: History
    fingerprint: list[str]
    """Identifies the rows that the run is made of."""
    skipped: int
    """Updates in a row that were skipped because their gradient was not finite."""
    since_best: int
    """Evaluations since the best one."""
    best: dict[str, Any] | None
    """The update and the metrics of the best evaluation."""
    seconds: float
    """Time spent training, over all starts of the run."""
    base_rates: list[float]
    """The learning rate of each parameter group before the schedule's factor."""
    factor: float
    """What the schedule gave for this update."""
    grad_norm: Tensor
    """Norm of this update's gradient before clipping."""
    steps: StepCount
    """The count behind `updates`."""
    is_plain: bool
    """Whether the loss that is minimized is the plain cross-entropy."""
    cost_of_pass: float
    """What one more pass costs, in tokens."""
    graphs: Parts
    """Runs the parts of an update."""
    label_weight: float
    """How much batches sort by the rank within the label (`recipes.data.batching.weight_of_label`)."""

    def settle_step(self) -> None:
        """Do what waits for the outcome of the last step: `after_step`, and the record of a step that was skipped.

        Raises:
            UserError: training diverged.
        """
        raise NotImplementedError


# What a checkpoint counts. Everything else is a tensor, or follows from the config. `batches_done` is the position in
# training. `updates` counts optimizer steps: fewer where a 16-bit step overflowed and was skipped.
COUNTERS = ("updates", "skipped", "batches_done", "rows_passed", "parts_passed", "since_best", "best", "seconds")


def capture(run: LiveRun) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that the next update depends on: tensors and JSON values by name.

    Raises:
        UserError: training diverged.
    """
    run.settle_step()
    optimizer = flatten_optimizer(run.optimizer)
    tensors, states = _capture_tricks(run.tricks)
    tensors |= {f"model.{name}": tensor for name, tensor in run.bare_model.state_dict().items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.items()}
    counters = {"data": run.fingerprint, **{name: getattr(run, name) for name in COUNTERS}}
    scaler = run.accelerator.scaler
    return tensors, {**counters, "scaler": scaler and scaler.state_dict(), "tricks": states}


def restore(run: LiveRun, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
    """Restore what `capture` returned.

    Raises:
        UserError: it belongs to other data.
    """
    if counters["data"] != run.fingerprint:
        raise data_has_changed(run.folder)
    run.bare_model.load_state_dict(inside(tensors, "model."))
    restore_optimizer(run.optimizer, inside(tensors, "optimizer."))
    for name in COUNTERS:
        setattr(run, name, counters[name])
    if run.accelerator.scaler:
        run.accelerator.scaler.load_state_dict(counters["scaler"])
    device = run.accelerator.device
    of_tricks = {name: tensor.to(device) for name, tensor in tensors.items() if name.startswith("trick.")}
    _restore_tricks(run.tricks, of_tricks, counters["tricks"])


def data_has_changed(folder: Path) -> UserError:
    """The error for a folder whose run was begun on other data."""
    return UserError(
        f"the data has changed since {folder} was begun (its training or validation rows are different); "
        "start over with resume=false, or name another folder with hydra.run.dir=<folder>."
    )


def write_tricks(folder: Path, tricks: Mapping[str, Trick]) -> None:
    """Write next to a model what the tricks need to predict with it; nothing if they have no state."""
    tensors, states = _capture_tricks(tricks)
    if tensors or any(states.values()):
        checkpoint.write(folder / TRICKS, tensors, states)


def read_tricks(folder: Path, tricks: Mapping[str, Trick]) -> None:
    """Restore into the tricks what `write_tricks` wrote.

    Raises:
        UserError: the file is damaged.
    """
    if not (folder / TRICKS).exists():
        return
    contents = checkpoint.read(folder / TRICKS)
    if contents is None:
        raise UserError(f"{folder / TRICKS} is damaged; train again with resume=false.")
    _restore_tricks(tricks, *contents)


def _capture_tricks(tricks: Mapping[str, Trick]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    states: dict[str, Any] = {}
    for name, trick in tricks.items():
        values = trick.state()
        tensors |= {f"trick.{name}.{key}": value for key, value in values.items() if isinstance(value, Tensor)}
        states[name] = {key: value for key, value in values.items() if not isinstance(value, Tensor)}
    return tensors, states


def _restore_tricks(tricks: Mapping[str, Trick], tensors: Mapping[str, Tensor], states: Mapping[str, Any]) -> None:
    for name, values in states.items():
        tricks[name].load({**values, **inside(tensors, f"trick.{name}.")})


def flatten_optimizer(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors by name. Its settings follow from the config."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value) for number, values in state.items() for name, value in values.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore what `flatten_optimizer` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, _, name = path.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
