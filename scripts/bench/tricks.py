"""What each trick costs against no trick: passes, time and memory."""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from recipes.cli import positive_integer
from recipes.compose.tricks import build
from recipes.data.splits import read_splits
from recipes.runtime.memory import PeakMemory
from recipes.testing import names, required_overrides
from scripts.bench.config import make_config
from scripts.bench.options import add_rounds_option, add_threads_option
from scripts.bench.processes import run_in_new_process
from scripts.bench.rounds import format_ratio
from scripts.bench.tables import describe_machine, print_table
from scripts.bench.timed_run import TimedRun

Cost = tuple[float, float, float]
"""Seconds, peak memory in MB, and passes of one update."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tricks", nargs="+", metavar="NAME", help="all unless given")
    parser.add_argument("--model", default="minilm", help="as model=... (%(default)s)")
    parser.add_argument(
        "--updates", type=positive_integer, default=12, help="of each trick; the first is not timed (%(default)s)"
    )
    add_rounds_option(parser, 3)
    add_threads_option(parser)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    tricks = ["", *(arguments.tricks or names())]
    costs: dict[str, list[Cost]] = {trick: [] for trick in tricks}
    for index in range(arguments.rounds):
        # Each round starts with another one, because the speed of a machine drifts.
        for trick in tricks[index:] + tricks[:index]:
            costs[trick].append(run_in_new_process(measure_trick, trick, arguments, folder))
            progress = f"round {index + 1}/{arguments.rounds}: {trick or 'none'}"
            print(progress, *costs[trick][-1], file=sys.stderr, flush=True)
    seconds, memory, passes = ({trick: [cost[item] for cost in costs[trick]] for trick in tricks} for item in range(3))
    table = [
        [
            trick or "none",
            f"{passes[trick][0]:.2f}",
            format_ratio(seconds[trick], seconds[""]),
            format_extra_pass(passes[trick][0], seconds[trick], seconds[""]),
            f"{statistics.median(memory[trick]):,.0f}",
            format_ratio(memory[trick], memory[""]),
        ]
        for trick in tricks
    ]
    title = (
        f"model={arguments.model}, {arguments.updates} updates of data=pydocs, {arguments.rounds} rounds "
        f"({describe_machine()})"
    )
    header = ["trick", "passes", "time / none", "an extra pass / none", "peak MB", "peak / none"]
    print_table(title, header, table, arguments.markdown)


def measure_trick(trick: str, arguments: argparse.Namespace, folder: Path) -> Cost:
    """Train with a trick, or with none if the name is empty."""
    os.environ["TRICKBOOK_CACHE"] = str(folder)
    torch.set_num_threads(arguments.threads)
    overrides = ["data=pydocs", f"model={arguments.model}", f"train.max_updates={arguments.updates}"]
    if trick:
        overrides += [f"+tricks=[{trick}]", *required_overrides([trick])]
    config = make_config(overrides, arguments.threads)
    splits = read_splits(config.data, {}, test=False)
    memory = PeakMemory()
    run = TimedRun(config, build(config.tricks), splits, Path(tempfile.mkdtemp(dir=folder)))
    run.fit_quietly()
    peak = memory.cost(run.accelerator.device)["peak_memory_mb"]
    lines = run.history.read()
    examples = sum(line["examples"] for line in lines)
    # The first update is slower: it allocates memory.
    return sum(line["seconds"] for line in lines[1:]), peak, run.rows_passed / examples


def format_extra_pass(passes: float, seconds: Sequence[float], reference: Sequence[float]) -> str:
    """The cost of each pass beyond the first, in plain updates; empty if there are fewer than two passes."""
    if passes < 2:
        return ""
    ratios = [one / other for one, other in zip(seconds, reference, strict=True)]
    return f"{(statistics.median(ratios) - 1) / (passes - 1):.2f}"
