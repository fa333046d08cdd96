"""Milliseconds an update of a model so small that the cost of the loop itself shows.

Texts all have one length, so that padding does not count.
"""

import argparse
import importlib
import statistics
from pathlib import Path

from recipes.cli import positive_integer
from recipes.errors import UserError
from scripts.bench.options import add_rounds_option, add_threads_option
from scripts.bench.peer_batches import PaddedRows, keep_batch, repeat_shuffled
from scripts.bench.peer_handwritten import train_by_hand
from scripts.bench.peer_lightning import train_with_lightning
from scripts.bench.peer_transformers import train_with_transformers
from scripts.bench.rounds import HANDWRITTEN, OURS, format_ratio, run_in_turns
from scripts.bench.tables import describe_machine, print_table
from scripts.bench.tasks import TOKENS, Task, make_tiny_task

WARM_UP_UPDATES = 4


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--updates", type=positive_integer, default=200, help="of each contestant in a round (%(default)s)"
    )
    add_rounds_option(parser, 9)
    # Kernels this small gain nothing from a second thread, and lose much where another process has its core.
    add_threads_option(parser)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    require_package("lightning")
    task = make_tiny_task(arguments.updates, arguments.threads, folder)
    contestants = {
        OURS: Task.train_ours,
        HANDWRITTEN: lambda task: train_by_hand(task, repeat_shuffled(task, PaddedRows(task), keep_batch)),
        "transformers Trainer": lambda task: train_with_transformers(task, PaddedRows(task), keep_batch),
        "PyTorch Lightning": lambda task: train_with_lightning(task, PaddedRows(task), keep_batch),
    }
    warm_up = make_tiny_task(WARM_UP_UPDATES, arguments.threads, folder)
    seconds = run_in_turns(contestants, warm_up, task, arguments.rounds)
    rows = [
        [name, f"{1000 * statistics.median(times) / arguments.updates:.2f}", format_ratio(times, seconds[HANDWRITTEN])]
        for name, times in seconds.items()
    ]
    size = task.config.train.batch_size
    title = (
        f"{arguments.updates} updates of {size} rows of {TOKENS} tokens, {arguments.rounds} rounds "
        f"({describe_machine()})"
    )
    print_table(title, ["loop", "ms an update", f"time / {HANDWRITTEN}"], rows, arguments.markdown)


def require_package(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} is not installed; the peers come with: pip install -e '.[bench]'") from error
