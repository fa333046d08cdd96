"""Augmented texts a second, with WordNet, against nlpaug and textaugment where they are installed.

Each contestant has one thread and is timed in CPU seconds, on which other processes have little effect. The workers of
ours are timed by the wall clock.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
from datasets import Dataset, concatenate_datasets

from recipes.cli import positive_integer
from recipes.compose.tricks import build
from scripts.bench.config import make_config
from scripts.bench.eda_peers import RATE, VARIANTS, TimeAugmentation, load_peers
from scripts.bench.options import add_data_option, add_rounds_option, add_rows_option, add_threads_option
from scripts.bench.rounds import OURS, format_ratio, run_in_turns
from scripts.bench.tables import describe_machine, print_table
from scripts.bench.texts import read_texts

OPERATIONS = ("replace", "insert", "swap", "delete")
WARM_UP_ROWS = 50


def add_options(parser: argparse.ArgumentParser) -> None:
    add_data_option(parser, "data=pydocs unless given", required=False)
    add_rows_option(parser)
    add_rounds_option(parser, 5)
    parser.add_argument("--workers", type=positive_integer, default=2, help="the most processes of ours (%(default)s)")
    parser.add_argument("--worker-rows", type=positive_integer, default=100_000, help="for the workers (%(default)s)")
    add_threads_option(parser)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    datasets.disable_progress_bars()
    peers = load_peers()
    contestants = make_contestants(folder) | {
        f"{package}: {operation}": timer for package, timers in peers.items() for operation, timer in timers.items()
    }
    for data in arguments.data or [None]:
        name, rows = read_texts(data, arguments.rows)
        warm_up = rows.select(range(min(len(rows), WARM_UP_ROWS)))
        seconds = run_in_turns(contestants, warm_up, rows, arguments.rounds)
        table = [
            [who, format_speed(rows, times), format_ratio(times, seconds[f"{OURS}: {who.partition(': ')[2]}"])]
            for who, times in seconds.items()
        ]
        title = (
            f"{name}: {VARIANTS} variants of {len(rows):,} rows each, {arguments.rounds} rounds "
            f"({describe_machine(*peers)})"
        )
        print_table(title, ["variants", "a second", f"time / {OURS}"], table, arguments.markdown)
        print_workers(name, rows, warm_up, arguments, folder)


def make_contestants(folder: Path) -> dict[str, TimeAugmentation]:
    """The trick with all operations and with each alone."""
    contestants = {f"{OURS}: all four": make_timer(folder, *(f"tricks.eda.{name}={RATE}" for name in OPERATIONS))}
    for only in OPERATIONS:
        rates = [f"tricks.eda.{name}={RATE if name == only else 0}" for name in OPERATIONS]
        contestants[f"{OURS}: {only}"] = make_timer(folder, *rates)
    return contestants


def print_workers(name: str, rows: Dataset, warm_up: Dataset, arguments: argparse.Namespace, folder: Path) -> None:
    """Print how much faster more processes are."""
    counts = range(1, arguments.workers + 1)
    workers = {
        str(count): make_timer(folder, f"tricks.eda.workers={count}", clock=time.perf_counter) for count in counts
    }
    repeated = concatenate_datasets([rows] * -(-arguments.worker_rows // len(rows)))
    seconds = run_in_turns(workers, warm_up, repeated, arguments.rounds)
    table = [[who, format_speed(repeated, times), format_ratio(seconds["1"], times)] for who, times in seconds.items()]
    title = f"{name} over and over: {VARIANTS} variants of each of {len(repeated):,} rows, {arguments.rounds} rounds"
    print_table(title, ["workers", "variants a second", "times as fast as one"], table, arguments.markdown)


def make_timer(folder: Path, *overrides: str, clock: Callable[[], float] = time.process_time) -> TimeAugmentation:
    """Time the trick as a run calls it, from the rows to those in the cache."""
    values = ["tricks.eda.source=wordnet", f"tricks.eda.variants={VARIANTS}", *overrides]
    config = make_config(["+tricks=[eda]", *values], None)
    trick = build(config.tricks)["eda"]
    run: Any = SimpleNamespace(config=config, note=str)

    def measure(rows: Dataset) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            os.environ["TRICKBOOK_CACHE"] = cache
            start = clock()
            trick.examples(run, lambda examples: examples, rows)
            return clock() - start

    return measure


def format_speed(rows: Dataset, seconds: Sequence[float]) -> str:
    return f"{VARIANTS * len(rows) / statistics.median(seconds):,.0f}"
