"""The memory of one process that trains on one document, or predicts it, against the length of the document."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch

from recipes.cli import positive_integer
from recipes.compose.tricks import build
from recipes.data.splits import Splits
from recipes.runtime.memory import PeakMemory
from scripts.bench.config import make_config
from scripts.bench.options import add_threads_option
from scripts.bench.processes import run_in_new_process
from scripts.bench.tables import describe_machine, print_table
from scripts.bench.texts import make_rows
from scripts.bench.timed_run import TimedRun

HEADER = (
    "trick",
    "tokens",
    "pieces",
    "set-up: peak MB",
    "training: peak MB",
    "s an update",
    "predicting: peak MB",
    "s",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tricks",
        nargs="+",
        default=["segments", "sliding_window"],
        metavar="TRICK",
        help="tricks for long texts, each measured alone (%(default)s)",
    )
    parser.add_argument(
        "--tokens",
        type=positive_integer,
        nargs="+",
        default=[1_000, 3_000, 10_000, 30_000, 100_000],
        metavar="COUNT",
        help="lengths of the document (%(default)s)",
    )
    parser.add_argument("--max-length", type=positive_integer, default=512, help="tokens of one piece (%(default)s)")
    add_threads_option(parser)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    table = []
    for trick, tokens in product(arguments.tricks, arguments.tokens):
        trained, predicted = (
            run_in_new_process(measure_document, work, trick, tokens, arguments, folder)
            for work in (train_document, predict_document)
        )
        pieces, set_up_peak, training_peak, update_seconds = trained
        _, _, predicting_peak, predict_seconds = predicted
        training = (f"{set_up_peak:,.0f}", f"{training_peak:,.0f}", f"{update_seconds:.2f}")
        predicting = (f"{predicting_peak:,.0f}", f"{predict_seconds:.2f}")
        table.append([trick, f"{tokens:,}", f"{pieces:,}", *training, *predicting])
        print(*table[-1], file=sys.stderr, flush=True)
    title = (
        f"one document an update, a random model of 2 layers and width 32, pieces of {arguments.max_length} tokens "
        f"({describe_machine()})"
    )
    print_table(title, HEADER, table, arguments.markdown)


def measure_document(
    work: Callable[[TimedRun], float], trick: str, tokens: int, arguments: argparse.Namespace, folder: Path
) -> tuple[int, float, float, float]:
    """The pieces of a document, the peak memory in MB before and after the work, and its seconds."""
    memory = PeakMemory()
    run = make_document_run(trick, tokens, arguments, folder)
    device, ids = run.accelerator.device, run.validation.columns["input_ids"]
    before = memory.cost(device)["peak_memory_mb"]
    seconds = work(run)
    after = memory.cost(device)["peak_memory_mb"]
    # Each piece begins with the same token.
    return int((ids == ids[0]).sum()), before, after, seconds


def train_document(run: TimedRun) -> float:
    return run.fit_quietly() / run.updates


def predict_document(run: TimedRun) -> float:
    start = time.perf_counter()
    run.predictions(run.validation)
    return time.perf_counter() - start


def make_document_run(trick: str, tokens: int, arguments: argparse.Namespace, folder: Path) -> TimedRun:
    """A run with one document in each update."""
    os.environ["TRICKBOOK_CACHE"] = str(folder)
    torch.set_num_threads(arguments.threads)
    size = f"data.max_length={arguments.max_length}"
    overrides = ["model=tiny", "train.batch_size=1", "train.max_updates=2", size, f"+tricks=[{trick}]"]
    config = make_config(overrides, arguments.threads)
    rows = make_rows(2, tokens)
    splits = Splits(rows, rows.select([0]), None, ["0", "1"], multi_label=False)
    return TimedRun(config, build(config.tricks), splits, Path(tempfile.mkdtemp(dir=folder)))
