"""Examples a second in an epoch of MiniLM on real texts, and what the batches of each data set do."""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from scripts.bench.fairness import print_batching
from scripts.bench.options import add_rounds_option, add_rows_option, add_text_options
from scripts.bench.peer_batches import list_rows, load_sorted_pools, make_collator
from scripts.bench.peer_handwritten import train_by_hand, train_without_padding
from scripts.bench.peer_transformers import train_with_transformers
from scripts.bench.rounds import HANDWRITTEN, OURS, format_ratio, run_in_turns
from scripts.bench.tables import describe_machine, print_table
from scripts.bench.tasks import Task, make_text_task

WARM_UP_BATCHES = 4


def add_options(parser: argparse.ArgumentParser) -> None:
    add_text_options(parser)
    add_rows_option(parser, 1600)
    add_rounds_option(parser, 2)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    for data in arguments.data:
        name, task = data.resolve().name, make_text_task(data, arguments, folder)
        print_throughput(name, task, arguments)
        print_batching(name, task, arguments.markdown)


def print_throughput(name: str, task: Task, arguments: argparse.Namespace) -> None:
    contestants = {
        OURS: Task.train_ours,
        HANDWRITTEN: lambda task: train_by_hand(task, load_sorted_pools(task)),
        "transformers Trainer": lambda task: train_with_transformers(task, list_rows(task), make_collator(task)),
        "the same, group_by_length": lambda task: train_with_transformers(
            task, list_rows(task), make_collator(task), "group_by_length"
        ),
        "no padding at all (bound)": train_without_padding,
    }
    first_rows = range(min(len(task.splits.train), WARM_UP_BATCHES * arguments.batch_size))
    warm_up = replace(task, splits=replace(task.splits, train=task.splits.train.select(first_rows)))
    seconds = run_in_turns(contestants, warm_up, task, arguments.rounds)
    examples = len(task.untrained_run.train)
    rows = []
    for contestant, times in seconds.items():
        median = statistics.median(times)
        ratios = [format_ratio(times, seconds[HANDWRITTEN]), format_ratio(times, seconds[OURS])]
        rows.append([contestant, f"{median:.1f}", f"{examples / median:.0f}", *ratios])
    title = (
        f"{name}: {examples:,} rows in batches of {arguments.batch_size}, {arguments.rounds} rounds "
        f"({describe_machine()})"
    )
    header = ["loop", "seconds", "examples/s", f"time / {HANDWRITTEN}", f"time / {OURS}"]
    print_table(title, header, rows, arguments.markdown)
