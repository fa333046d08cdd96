"""Several processes on one GPU: how many runs at a time are worth it.

Each process trains one run of MiniLM on short text, all at the same time. What counts is the time of an update in sum:
that of one process, divided by their number. Captures of graphs are included, since each run makes its own.
"""

import multiprocessing
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

from recipes.config import Config
from recipes.runtime.workers import RUNS_ON_A_GPU
from scripts.gpu import work

COUNTS = (1, 2, 4, 8)
UPDATES = {"cuda": 200, "cpu": 3}
WORTH_IT = 1.25
"""Another number of runs at a time is worth more than the default if it is faster by this factor."""

BARRIERS: dict[int, Barrier] = {}
"""In a process of the pool: what the runs of each count wait at, so that they begin together."""
PATIENCE = 300.0
"""Seconds to wait for the others; if one has failed, nobody waits for ever."""


def describe(seconds: float) -> Iterator[str]:
    """Measure 1, 2, 4 and 8 processes; a count for which no time is left is left out."""
    measured = dict(measure(seconds))
    rows = [(count, f"{each:.2f}", f"{each / count:.2f}") for count, each in measured.items()]
    yield from work.table(["processes", "ms an update, each", "ms an update, in sum"], rows)
    if missing := [str(count) for count in COUNTS if count not in measured]:
        yield f"Left out for lack of time: {' and '.join(missing)} processes."
    fastest = min(measured, key=lambda count: measured[count] / count)
    default = max(count for count in measured if count <= RUNS_ON_A_GPU)
    factor, gain = (measured[slower] / slower / (measured[fastest] / fastest) for slower in (1, default))
    sentence = f"{fastest} at a time are fastest: {factor:.2f} times as fast as one, {gain:.2f} times as {default}."
    yield work.verdict(gain < WORTH_IT, sentence) if work.DEVICE == "cuda" else sentence


def measure(seconds: float) -> Iterator[tuple[int, float]]:
    """Yield for each number of processes the milliseconds of an update in the slowest of them."""
    start, took = time.monotonic(), 0.0
    context = multiprocessing.get_context("spawn")
    shared = {count: context.Barrier(count) for count in COUNTS}
    config = make_config()
    with ProcessPoolExecutor(max(COUNTS), context, set_up, (shared, work.DEVICE, work.DATA)) as pool:
        for count in COUNTS:
            began = time.monotonic()
            # Twice as many processes may take twice as long.
            if began - start + 2 * took > seconds:
                return
            runs = [pool.submit(train, config, count) for _ in range(count)]
            yield count, 1000 * max(run.result() for run in runs) / UPDATES[work.DEVICE]
            took = time.monotonic() - began


def make_config() -> Config:
    """A short run with replayed passes."""
    graphs = f"train.cuda_graphs={'on' if work.DEVICE == 'cuda' else 'off'}"
    return work.make_config("MiniLM", "short", f"train.max_updates={UPDATES[work.DEVICE]}", "+tricks=[amp]", graphs)


def set_up(shared: Mapping[int, Barrier], device: str, data: Path | None) -> None:
    """Prepare a process of the pool."""
    BARRIERS.update(shared)
    work.DEVICE, work.DATA = device, data


def train(config: Config, count: int) -> float:
    """Train one run together with others, and return the seconds of its updates."""
    run = work.make_run(config)
    BARRIERS[count].wait(PATIENCE)
    return run.fit_quietly()
