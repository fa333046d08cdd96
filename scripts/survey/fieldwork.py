"""Make the runs of the atlas: any number of workers, on one machine or on many that see the same folders.

A worker goes through the blocks in order and takes each run that nobody has. A lock says who has it; a kill frees the
lock, and the run is made again. A finished run is a stored row, and nothing else of it stays.

A worker opens a block only if all of it fits into the time that is left, as far as the runs so far can tell. So what a
budget leaves is complete blocks, and mostly complete rounds.
"""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from types import TracebackType

import psutil
import torch
from filelock import FileLock, Timeout

import recipes
from recipes.ablation.observations import score_run
from recipes.errors import UserError
from recipes.guards import Diverged
from scripts.survey.blocks import Block, Run
from scripts.survey.declaration import Atlas
from scripts.survey.packing import find_encoder
from scripts.survey.rows import Result, append_result, encode_losses, encode_right, read_results
from scripts.survey.samples import draw, find_sample

RESERVE = 1.15
"""By how much longer the runs of a block may take than those before."""


@dataclass
class Worker:
    """Makes runs until none is left, or no time.

    Args:
        atlas: the declaration.
        data: the folder of the data sets.
        rows: the folder of the stored rows.
        work: the folder for all else.
        machine: overrides of this machine, which do not decide results.
        workers: how many there are.
        until: when to stop, in seconds since 1970; None: never.
    """

    atlas: Atlas
    data: Path
    rows: Path
    work: Path
    machine: Sequence[str]
    workers: int
    until: float | None
    walls: list[float] = field(default_factory=list)
    """Seconds of the runs that this worker has made."""

    def run_blocks(self, blocks: Sequence[Block]) -> None:
        """Make all runs of the blocks, as far as the time goes."""
        for block in blocks:
            missing = self.list_missing(block)
            if missing and not self.open(block, len(missing)):
                return
            for run in missing:
                if not self.has_time(max(self.walls, default=0.0)):
                    return
                with self.claim(run) as is_mine:
                    if is_mine and run.key not in read_results(self.rows):
                        self.make(run)

    def list_missing(self, block: Block) -> list[Run]:
        """List the runs of a block that are not finished and did not fail in this call."""
        finished = read_results(self.rows)
        return [run for run in block.runs if run.key not in finished and not self.failure(run).exists()]

    def open(self, block: Block, count: int) -> bool:
        """Open a block unless a worker of this call has done so; false if it does not fit into the time."""
        mark = self.work / "opened" / block.name
        if not mark.exists():
            if not self.has_time(self.expect_seconds(block, count)):
                return False
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        return True

    def expect_seconds(self, block: Block, count: int) -> float:
        """Expect how long the missing runs of a block take, from stored runs of this length on this device; else 0."""
        walls = [
            result.wall
            for result in read_results(self.rows).values()
            if (result.encoder, result.updates, result.device) == (block.encoder, block.updates, name_device())
        ]
        if not walls:
            return 0.0
        # In each wave every worker has a run. The last wave may have the longest one.
        waves = -(-count // self.workers)
        return RESERVE * ((waves - 1) * fmean(walls) + max(walls))

    def has_time(self, seconds: float) -> bool:
        """Whether so much time is left."""
        return self.until is None or time.time() + seconds < self.until

    @contextmanager
    def claim(self, run: Run) -> Iterator[bool]:
        """Take a run, unless another worker has it."""
        lock = FileLock(self.work / "locks" / f"{run.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def failure(self, run: Run) -> Path:
        """The file that says why a run has failed in this call."""
        return self.work / "failed" / f"{run.name}.txt"

    def make(self, run: Run) -> None:
        """Make a run, store its row and remove its folder."""
        started = time.perf_counter()
        folder = self.work / "runs" / run.name
        source = find_sample(self.data, run.data, self.work / "data", self.atlas.validation_rows)
        folds = self.atlas.data[run.data].folds
        train, validation = draw(source, run.rows or self.atlas.rows, run.seed, folds, self.work / "drawn")
        own = [f"data.train={train}", f"data.validation={validation}", f"hydra.run.dir={folder}"]
        own += [*find_encoder(self.data, run.encoder), *self.machine]
        with ExitStack() as stack:
            stack.push(partial(self.write_failure, run))
            result = train_run(run, [*run.overrides, *own])
            self.walls.append(time.perf_counter() - started)
            append_result(self.rows, result(wall=round(self.walls[-1], 2)), self.work / "locks")
            print(f"{time.strftime('%H:%M:%S')} {self.walls[-1]:6.1f} s  {run.name}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)

    def write_failure(
        self, run: Run, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Note why a run has failed, so that it is not tried again in this call.

        Returns:
            Whether the worker goes on: a run that is refused has not touched the device.
        """
        if isinstance(error, Exception):
            path = self.failure(run)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")
            print(f"failed: {run.name}: {error}", file=sys.stderr, flush=True)
        return isinstance(error, UserError)


def train_run(run: Run, overrides: Sequence[str]) -> Callable[..., Result]:
    """Train, and return a function from the seconds of the whole run to its row."""
    of_run = dict(zip(("encoder", "data", "updates", "tricks", "seed", "digest"), run.key, strict=True))
    of_run["device"] = name_device()
    try:
        with redirect_stdout(io.StringIO()):
            finished = recipes.finetune(overrides)
    except Diverged:
        numbers = dict.fromkeys(("accuracy", "macro_f1", "loss", "seconds", "passes", "memory"), float("nan"))
        texts = {"validation": "", "health": "diverged", "graphs": "", "right": "", "losses": ""}
        return partial(Result, **of_run, **numbers, **texts)
    metrics, predictions = finished.metrics, finished.load_predictions("validation")
    cost, scores = metrics["cost"], metrics["validation"]
    right, losses = score_run(predictions, "accuracy"), -score_run(predictions, "loss").rows
    return partial(
        Result,
        **of_run,
        validation=right.validation[:8],
        health=metrics["health"]["headline"],
        accuracy=scores["accuracy"],
        macro_f1=round(scores["macro_f1"], 6),
        loss=round(float(losses.mean()), 6),
        seconds=cost["train_seconds"],
        passes=cost["passes_per_update"],
        memory=cost["peak_memory_mb"],
        graphs=str(cost["graphs"]).lower(),
        right=encode_right(right.rows),
        losses=encode_losses(losses),
    )


def name_device() -> str:
    """Name what trains: the card, or the CPU."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def run_workers(words: Sequence[str], workers: int, work: Path) -> int:
    """Start workers, each a process of this program, and replace one that ends with an error.

    A run that breaks ends its worker, since the state of the device may be broken too. The next one leaves it out.

    Args:
        words: the command of a worker.
        workers: their number.
        work: the folder for all that is not stored.

    Returns:
        The number of runs that have failed, or of workers that have.
    """
    for name in ("opened", "failed"):
        shutil.rmtree(work / name, ignore_errors=True)
    (work / "locks").mkdir(parents=True, exist_ok=True)
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1
    cards = torch.cuda.device_count()
    environments = [
        {
            # Of the program that started this one: with it, a user's error would have a traceback.
            **{name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"},
            "OMP_NUM_THREADS": str(max(1, cores // workers)),
            "TOKENIZERS_PARALLELISM": "false",
            # Runs side by side wait for the GPU's fp32 products; TF32 took a tenth of their time on an H100.
            "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
            **({"CUDA_VISIBLE_DEVICES": str(number % cards)} if cards > 1 else {}),
        }
        for number in range(workers)
    ]
    processes = [subprocess.Popen(words, env=each) for each in environments]
    replaced = 0
    while True:
        noted = len(list((work / "failed").glob("*.txt")))
        ended = [number for number, process in enumerate(processes) if process.poll() not in (None, 0)]
        # A worker is replaced for a run that it has noted. One that cannot even start is not.
        for number in ended[: noted - replaced]:
            processes[number] = subprocess.Popen(words, env=environments[number])
            replaced += 1
        if all(process.poll() is not None for process in processes):
            break
        time.sleep(0.5)
    return max(noted, sum(process.poll() != 0 for process in processes))
