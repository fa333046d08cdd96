"""Train a model with another objective before the first update of a run.

Such a stage stops and resumes like the loop: killed and started again, it ends the same to the bit. Its checkpoint is
`checkpoints/<trick>.safetensors` in the run folder. Its result is kept in the cache of this machine, under a key of all
that it depends on. With more than one process each trains the whole stage, and all go on with the weights of the first.
"""

import hashlib
import inspect
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim import AdamW

from recipes.data.cache import cache_folder
from recipes.errors import DIVERGED, UserError
from recipes.runs import checkpoint
from recipes.runs.checkpoint import inside
from recipes.runtime.randomness import key as draw_key
from recipes.runtime.randomness import seed_device
from recipes.runtime.signals import Interrupted, interruptions
from recipes.seams import tricks_around
from recipes.state import LiveRun, flatten_optimizer, restore_optimizer
from recipes.trick import Run, Trick

FORMAT = 2
"""Part of the key of every result: raise it when the same stage gives other weights, or other content."""
MOST_BYTES = 4 * 2**30
"""Of all results in the cache; the oldest ones are removed."""
SECONDS_BETWEEN_LINES = 30


@dataclass(frozen=True)
class Stage:
    """What is trained before the first update."""

    trick: Trick
    """Whose stage it is."""
    model: nn.Module
    """What is trained. A checkpoint holds all of it."""
    plan: Callable[[int], Sequence[np.ndarray]]
    """The rows of each update of an epoch, (update, row). All epochs have as many updates."""
    loss: Callable[[np.ndarray, int, int], Tensor]
    """The mean loss of some rows. Its draws depend on the epoch and the update in it alone, both counted from 0."""
    epochs: float
    max_updates: int | None
    """The most updates; None: as many as the epochs have."""
    content: Sequence[object]
    """Everything that the loss depends on, except the settings of the trick and the weights at the start."""
    learning_rate: float
    """The highest one."""
    warmup: float
    """Fraction of the updates over which the learning rate rises; then it falls to 0."""

    @cached_property
    def per_epoch(self) -> int:
        """Updates of an epoch."""
        return len(self.plan(0))

    @cached_property
    def updates(self) -> int:
        """Updates of the stage."""
        updates = max(1, round(self.epochs * self.per_epoch))
        return min(updates, self.max_updates or updates)

    def count_rows(self) -> int:
        """Count the rows that pass through the model in all updates."""
        full, rest = divmod(self.updates, self.per_epoch)
        plans = [*map(self.plan, range(full)), self.plan(full)[:rest] if rest else []]
        return sum(len(rows) for plan in plans for rows in plan)


def train_stage(run: Run, stage: Stage) -> None:
    """Train a stage to its end, or take its result from the cache.

    Args:
        run: the run; its passes and seconds count the stage.
        stage: what is trained.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM, with a checkpoint on disk.
        UserError: nothing can be trained, training diverged, memory runs out, the disk is full.
    """
    name = stage.trick.name
    training = StageTraining(cast(LiveRun, run), stage)
    if not training.restore():
        run.say(f"{name}: {stage.updates:,} updates before the first update of the run.")
    with interruptions() as received:
        while training.done < stage.updates:
            training.step()
            stopped, is_due = training.agree(received() > 0, training.is_checkpoint_due())
            if stopped or is_due:
                training.save()
            if stopped:
                message = f"Stopped after update {training.done} of {name}; the same command goes on."
                raise Interrupted(received() or signal.SIGTERM, message)
    training.finish()
    run.rows_passed += stage.count_rows()


class StageTraining:
    """The loop over the updates of a stage.

    Args:
        run: the run.
        stage: what is trained.
    """

    def __init__(self, run: LiveRun, stage: Stage) -> None:
        self.run, self.stage, self.name = run, stage, stage.trick.name
        self.parameters = [each for each in stage.model.parameters() if each.requires_grad]
        if not self.parameters:
            raise UserError(
                f"tricks.{self.name}: all weights are frozen, so nothing can be trained before the head; freeze fewer "
                f"layers, or leave {self.name} out."
            )
        decay, train = run.config.train.weight_decay, run.config.train
        groups = [
            {"params": [each for each in self.parameters if each.dim() > 1], "weight_decay": decay},
            {"params": [each for each in self.parameters if each.dim() <= 1], "weight_decay": 0.0},
        ]
        device = run.accelerator.device.type
        self.optimizer = AdamW(groups, lr=stage.learning_rate, fused=device in ("cpu", "cuda"))
        # Small gradients of 16 bits become 0; with the precision bf16, and without any, the scaler does nothing.
        self.scaler = torch.amp.GradScaler(device, enabled=run.accelerator.mixed_precision == "fp16")
        self.clip_norm = math.inf if train.clip_norm is None else train.clip_norm
        self.done, self.losses = 0, torch.zeros(stage.updates)
        self.plan = lru_cache(maxsize=1)(stage.plan)
        self.started_at = self.saved_at = self.reported_at = time.perf_counter()
        self.key = identify(run, stage)
        self.checkpoint = run.folder / "checkpoints" / f"{self.name}.safetensors"
        self.cached = cache_folder() / "pretraining" / f"{self.key}.safetensors"
        self.is_cached = False

    # One update.

    def step(self) -> None:
        """Compute the loss of the next update and its gradient, and step.

        Raises:
            UserError: the gradient is not finite, or memory does not hold the update.
        """
        run, stage, device = self.run, self.stage, self.run.accelerator.device.type
        seed_device(draw_key(run.config.seeds.dropout, "dropout", self.name, self.done), device)
        epoch, index = divmod(self.done, stage.per_epoch)
        try:
            with run.accelerator.autocast():
                loss = stage.loss(self.plan(epoch)[index], epoch, index)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"tricks.{self.name}: memory does not hold an update; set a smaller tricks.{self.name}.batch_size or "
                "data.max_length, or model.gradient_checkpointing=true."
            ) from error
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        if not (self.scaler.is_enabled() or norm.isfinite()):
            raise UserError(
                f"{DIVERGED}: the gradient of update {self.done + 1} of {self.name} contains NaN or inf. Lower "
                f"tricks.{self.name}.learning_rate (now {stage.learning_rate:g})."
            )
        factor = self._factor((self.done + 0.5) / stage.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = stage.learning_rate * factor
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.losses[self.done] = loss.detach().float().cpu()
        self.done += 1
        self._report()

    def _factor(self, progress: float) -> float:
        """The factor of the learning rate at a fraction of the updates: linear warm-up, then linear decay."""
        warmup = self.stage.warmup
        return progress / warmup if progress < warmup else (1 - progress) / (1 - warmup) if warmup < 1 else 0.0

    def _report(self) -> None:
        is_over = self.done == self.stage.updates
        if is_over or time.perf_counter() - self.reported_at > SECONDS_BETWEEN_LINES:
            self.reported_at = time.perf_counter()
            last = self.losses[max(0, self.done - max(1, self.stage.updates // 10)) : self.done].mean()
            self.run.say(
                f"{self.name}: update {self.done:,} of {self.stage.updates:,}, loss {last:.4f} (at first "
                f"{self.losses[0]:.4f})"
            )

    # Stopping and resuming.

    def agree(self, stopped: bool, is_due: bool) -> tuple[bool, bool]:
        """What holds for any of the processes: a signal may reach one only, and clocks differ."""
        processes = self.run.accelerator.num_processes
        if processes > 1:
            signs = torch.tensor([stopped, is_due], dtype=torch.float32, device=self.run.accelerator.device)
            stopped, is_due = (sign > 0 for sign in self.run.accelerator.reduce(signs).tolist())
        return stopped, is_due

    def is_checkpoint_due(self) -> bool:
        """Whether enough would be lost by a kill."""
        return time.perf_counter() - self.saved_at >= self.run.config.checkpoint.min_seconds

    def save(self) -> None:
        """Write a checkpoint: all that the next update depends on."""
        if self.run.accelerator.is_main_process:
            optimizer = {f"optimizer.{name}": each for name, each in flatten_optimizer(self.optimizer).items()}
            counters = {"scaler": self.scaler.state_dict(), "seconds": time.perf_counter() - self.started_at}
            self._write(self.checkpoint, optimizer, counters)
        self.saved_at = time.perf_counter()

    def _write(self, path: Path, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = {f"model.{name}": tensor for name, tensor in self.stage.model.state_dict().items()}
        position = {"key": self.key, "done": self.done}
        checkpoint.write(path, {**weights, **tensors, "losses": self.losses}, {**position, **counters})

    def restore(self) -> bool:
        """Take the result from the cache, or go on from the checkpoint; whether there was any.

        A checkpoint of other settings, or a damaged one, is not used.
        """
        for path in (self.cached, self.checkpoint):
            tensors, counters = checkpoint.read(path) or ({}, {})
            # All processes must go on from the same update.
            agrees = torch.tensor(float(counters.get("key") == self.key), device=self.run.accelerator.device)
            if self.run.accelerator.num_processes > 1:
                agrees = self.run.accelerator.reduce(agrees, reduction="mean")
            if agrees == 1:
                self.is_cached = path == self.cached
                self._load(tensors, counters)
                return True
        return False

    def _load(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        self.stage.model.load_state_dict(inside(tensors, "model."))
        self.done, self.losses = counters["done"], tensors["losses"]
        # A cached stage costs what it cost when it was trained, so that runs can be compared.
        self.run.seconds += counters["seconds"]
        if "scaler" in counters:
            restore_optimizer(self.optimizer, inside(tensors, "optimizer."))
            self.scaler.load_state_dict(counters["scaler"])
            # The time of the earlier start counts too: of the loop, which adds up the time of all stages.
            self.started_at -= counters["seconds"]
            self.run.say(f"{self.name}: going on after update {self.done:,} of {self.stage.updates:,}.")
        else:
            self.run.say(f"{self.name}: the weights after its {self.done:,} updates are in the cache, and are used.")

    def finish(self) -> None:
        """Give all processes the same weights, and put the result into the cache."""
        if self.run.accelerator.num_processes > 1:
            for tensor in self.stage.model.state_dict().values():
                tensor.copy_(broadcast(tensor))
        if self.run.accelerator.is_main_process and not self.is_cached:
            with suppress(UserError, OSError):  # a cache that cannot be written costs time only
                self._write(self.cached, {}, {"seconds": time.perf_counter() - self.started_at})
                _remove_oldest(self.cached.parent)
                self.checkpoint.unlink(missing_ok=True)


def _remove_oldest(folder: Path) -> None:
    """Remove the oldest results until the others have at most `MOST_BYTES`."""
    total = 0
    for path in sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True):
        total += path.stat().st_size
        if total > MOST_BYTES:
            path.unlink(missing_ok=True)


def identify(run: Run, stage: Stage) -> str:
    """Hash all that the result of a stage depends on: weights, texts, settings, seeds, code and machine.

    Of the other tricks those count that change the model.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(stage.model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    config, device = run.config, run.accelerator.device
    machine = [torch.__version__, torch.get_num_threads(), run.accelerator.mixed_precision, device.type]
    if device.type == "cuda":
        machine.append(torch.cuda.get_device_name(device))
    # A trick that its author has just edited may compute another loss.
    source = inspect.getsource(sys.modules[type(stage.trick).__module__])
    trained = [name for name, each in stage.model.named_parameters() if each.requires_grad]
    numbers = [stage.updates, stage.learning_rate, stage.warmup, config.train.clip_norm, config.train.weight_decay]
    around = [run.tricks[name] for name in tricks_around("model", run.tricks)]
    settings = [repr(stage.trick), source, *numbers, config.model, config.seed, config.seeds, *map(repr, around)]
    parts = [FORMAT, *settings, *machine, trained, *stage.content]
    digest.update("\0".join(map(str, parts)).encode())
    return digest.hexdigest()[:32]
