"""Scores after the same training on random and on grouped batches, seed by seed."""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from recipes.cli import positive_integer
from recipes.config import Config, Seeds
from recipes.data.batching import Batches
from recipes.data.encoding import Encoded
from recipes.data.splits import Splits
from recipes.metrics import measure
from scripts.bench.options import add_text_options
from scripts.bench.peer_batches import cut_into_batches
from scripts.bench.tables import describe_machine, print_table
from scripts.bench.tasks import make_text_task
from scripts.bench.timed_run import TimedRun


def add_options(parser: argparse.ArgumentParser) -> None:
    add_text_options(parser)
    parser.add_argument(
        "--rows", type=positive_integer, default=1600, help="half to train, half to score (%(default)s)"
    )
    parser.add_argument("--epochs", type=float, default=3, help="of each training (%(default)s)")
    parser.add_argument("--seeds", type=positive_integer, default=8, help="trainings of each kind (%(default)s)")


def run(arguments: argparse.Namespace, folder: Path) -> None:
    for data in arguments.data:
        task = make_text_task(data, arguments, folder)
        rows = task.splits.train
        half = len(rows) // 2
        splits = replace(task.splits, train=rows.select(range(half)), validation=rows.select(range(half, 2 * half)))
        config = replace(task.config, train=replace(task.config.train, epochs=arguments.epochs))
        scores: dict[str, list[dict[str, float]]] = {"random": [], "grouped": []}
        for seed, (kind, scores_of_kind) in product(range(arguments.seeds), scores.items()):
            seeded = replace(config, seed=seed, seeds=Seeds(seed, seed, seed))
            scores_of_kind.append(train_and_score(kind, seeded, splits, folder))
            print(f"seed {seed}: {kind} {scores_of_kind[-1]['accuracy']:.4f}", file=sys.stderr, flush=True)
        title = (
            f"{data.resolve().name}: {half:,} rows trained on for {arguments.epochs:g} epochs, {half:,} others scored, "
            f"{arguments.seeds} seeds ({describe_machine()})"
        )
        table = [
            [metric, *compare_pairs(*([score[metric] for score in each] for each in scores.values()))]
            for metric in ("loss", "accuracy", "macro_f1")
        ]
        print_table(title, ["metric", *scores, "difference, paired by seed"], table, arguments.markdown)


def train_and_score(kind: str, config: Config, splits: Splits, folder: Path) -> dict[str, float]:
    run = TimedRun(config, {}, splits, folder)
    if kind == "random":
        run.seams.batches = partial(make_random_batches, run.config)
    run.fit_quietly()
    return measure(run.predictions(run.validation))


def make_random_batches(config: Config, dataset: Encoded, epoch: int) -> Batches:
    order = np.random.default_rng((config.seed, epoch)).permutation(len(dataset))
    return Batches(dataset, cut_into_batches(order, config.train.batch_size), epoch)


def compare_pairs(first: Sequence[float], second: Sequence[float]) -> list[str]:
    """Both means, and the mean difference with its standard error."""
    differences = [after - before for before, after in zip(first, second, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return [
        f"{statistics.mean(first):.4f}",
        f"{statistics.mean(second):.4f}",
        f"{statistics.mean(differences):+.4f} ± {error:.4f}",
    ]
