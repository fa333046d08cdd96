"""What a start costs, against the imports that it cannot do without. Each start is a fresh process.

The figures are CPU seconds, user and system, on one thread. The files that runs share on a machine (docstrings of
`data=pydocs`, tokens) are there already, except in the row without a cache.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from recipes.cli import positive_integer
from scripts.bench.options import add_rounds_option
from scripts.bench.rounds import format_ratio
from scripts.bench.tables import describe_machine, print_table

ROOT = Path(__file__).parents[2]
IMPORTS = "import torch, transformers; from transformers import BertForSequenceClassification"
# Ends the process where the first update would begin.
TO_FIRST_UPDATE = """
import os, runpy, sys
sys.path.insert(0, os.getcwd())
import recipes.loop
recipes.loop.TrainingRun._step = lambda run, batch: os._exit(0)
runpy.run_path("train.py", run_name="__main__")
"""
RUN = ("model=tiny", "train.max_updates=2", "train.threads=1")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_rounds_option(parser, 5)
    parser.add_argument("--threads", type=positive_integer, default=1, help="of each process (%(default)s)")


def run(arguments: argparse.Namespace, folder: Path) -> None:
    finished = f"hydra.run.dir={folder}/finished"
    # Makes the finished run, and fills the cache.
    measure_cpu(["train.py", *RUN, finished], arguments.threads)
    starts = {
        "import torch, transformers and the model class": ["-c", IMPORTS],
        "train.py until the first update": ["-c", TO_FIRST_UPDATE, *RUN],
        "the same without a cache": ["-c", TO_FIRST_UPDATE, *RUN],
        "train.py shows a finished run": ["train.py", *RUN, finished],
        "train.py misses a data file": ["train.py", "data=files", "data.train=none.csv"],
        "train.py with a misspelt setting": ["train.py", "trian.epochs=1"],
        "scripts/predict.py --help": ["scripts/predict.py", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    # In turns, because the speed of a machine drifts.
    for number in range(arguments.rounds):
        for name, command in starts.items():
            words = [*command, f"hydra.run.dir={folder}/{number}"] if TO_FIRST_UPDATE in command else command
            cache = tempfile.mkdtemp(dir=folder) if "without a cache" in name else os.environ["TRICKBOOK_CACHE"]
            seconds[name].append(measure_cpu(words, arguments.threads, cache))
            print(name, f"{seconds[name][-1]:.2f}", file=sys.stderr, flush=True)
    imports = next(iter(seconds.values()))
    table = [[name, f"{statistics.median(each):.2f}", format_ratio(each, imports)] for name, each in seconds.items()]
    title = f"CPU seconds of a start, median of {arguments.rounds} rounds ({describe_machine()})"
    print_table(title, ["start", "CPU s", "times the imports"], table, arguments.markdown)


def measure_cpu(words: Sequence[str], threads: int, cache: str | None = None) -> float:
    """The CPU seconds of a Python process with these arguments."""
    caches = {"TRICKBOOK_CACHE": cache} if cache else {}
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **caches}
    output = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, stdout=output, stderr=output)
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime
