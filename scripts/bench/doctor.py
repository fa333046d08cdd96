"""The cheap checks that train.py runs at every start, against the loading before them."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import datasets

from recipes.cli import positive_integer
from recipes.data.splits import read_splits
from recipes.doctor.runner import check_at_start
from recipes.loop import TrainingRun
from scripts.bench.config import make_config
from scripts.bench.options import add_threads_option
from scripts.bench.rounds import format_ratio
from scripts.bench.tables import describe_machine, print_table
from scripts.bench.texts import make_rows

WARM_UP_ROWS = 100


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", default=["minilm", "tiny"], metavar="MODEL", help="(%(default)s)")
    parser.add_argument("--rows", type=positive_integer, default=10_000, help="of the file (%(default)s)")
    parser.add_argument("--tokens", type=positive_integer, default=30, help="words of a text (%(default)s)")
    parser.add_argument("--rounds", type=positive_integer, default=3, help="starts, each with a new file (%(default)s)")
    add_threads_option(parser)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    # Else the data sets library would keep what it read of these files.
    datasets.config.HF_DATASETS_CACHE = folder
    table = []
    for model in arguments.models:
        measure_start(model, WARM_UP_ROWS, arguments, folder)
        starts = [measure_start(model, arguments.rows, arguments, folder) for _ in range(arguments.rounds)]
        loading, checking = zip(*starts, strict=True)
        medians = (f"{statistics.median(seconds):.2f}" for seconds in (loading, checking))
        table.append([f"model={model}", *medians, format_ratio(checking, loading)])
        print(*table[-1], file=sys.stderr, flush=True)
    title = f"{arguments.rows:,} texts of {arguments.tokens} words, {arguments.rounds} rounds ({describe_machine()})"
    header = ["start", "loading, CPU s", "cheap checks, CPU s", "checks / loading"]
    print_table(title, header, table, arguments.markdown)


def measure_start(model: str, rows: int, arguments: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """The CPU seconds to set up a run on a new file, and those of the cheap checks after it."""
    run_folder = Path(tempfile.mkdtemp(dir=folder))
    os.environ["TRICKBOOK_CACHE"] = str(run_folder)
    file = run_folder / "train.csv"
    make_rows(rows, arguments.tokens).select_columns(["text", "label"]).to_csv(file)
    config = make_config(["data=files", f"data.train={file}", f"model={model}"], arguments.threads)
    start = time.process_time()
    splits = read_splits(config.data, {}, test=True)
    run = TrainingRun(config, {}, splits, run_folder)
    ready = time.process_time()
    check_at_start(run, splits)
    return ready - start, time.process_time() - ready
