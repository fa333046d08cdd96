"""Time Trickbook against its peers, and measure what its batches and tricks do.

    python scripts/bench loop --rounds 25
    python scripts/bench loop --help       the options of one benchmark

In training every contestant starts from the same weights and trains on the same rows, on the CPU: fused AdamW,
clipping, linear schedule, dropout on, no evaluation and no checkpoint. The contestants run in turns, because the speed
of a machine drifts. Ratios are taken within a round; tables show the median over the rounds. Results are in
`docs/benchmarks.md`.
"""

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    # Python puts the folder that it runs first on the path. There, tables.py or tricks.py would hide other packages.
    sys.path[0] = str(Path(__file__).parents[2])

from recipes.cli import exit_on_user_error

PROGRAM = "python scripts/bench"
BENCHMARKS = {
    "loop": "milliseconds an update of a tiny model, against the peers",
    "throughput": "examples a second in an epoch of MiniLM, against the peers",
    "fairness": "padding, parts and label fractions of the batches; no training",
    "grouping": "scores after training on random and on grouped batches",
    "documents": "memory for one document, against its length",
    "eda": "augmented texts a second, against nlpaug and textaugment",
    "predict": "texts a second, against transformers.pipeline and sentence-transformers; precisions",
    "tricks": "passes, time and memory of each trick, against no trick",
    "attacks": "how far an epsilon for the word embedding matrix moves each text",
    "doctor": "cheap checks at every start, against the loading before them",
    "start": "CPU seconds of a start, against importing torch, transformers and the model class",
}


def read_arguments(words: Sequence[str]) -> tuple[ModuleType, argparse.Namespace]:
    """The chosen benchmark and its options; only that benchmark is imported, so the list of all appears at once."""
    listing = "\n".join(f"  {name:<12}{summary}" for name, summary in BENCHMARKS.items())
    names = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s <benchmark> [options]",
        description=__doc__,
        epilog=f"benchmarks:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names.add_argument("benchmark", choices=list(BENCHMARKS), metavar="benchmark", help="one of the list below")
    name = names.parse_args(words[:1]).benchmark
    benchmark = importlib.import_module(f"scripts.bench.{name}")
    options = argparse.ArgumentParser(
        prog=f"{PROGRAM} {name}",
        description=benchmark.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    benchmark.add_options(options)
    return benchmark, options.parse_args(words[1:])


def main() -> None:
    benchmark, arguments = read_arguments(sys.argv[1:])
    import torch

    with tempfile.TemporaryDirectory() as folder:
        # Tokenized texts go where the runs go, so that a benchmark leaves no files behind.
        os.environ["TRICKBOOK_CACHE"] = folder
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        benchmark.run(arguments, Path(folder))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
