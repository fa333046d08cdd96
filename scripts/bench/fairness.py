"""What the batches do: padding, parts of an update, and label fractions from batch to batch. Nothing is trained."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from recipes.data.batching import cut_by_length, length_goes_with_label, padding_waste
from scripts.bench.options import add_rows_option, add_text_options
from scripts.bench.peer_batches import POOL, cut_into_batches, sort_in_pools
from scripts.bench.rounds import OURS
from scripts.bench.tables import print_table
from scripts.bench.tasks import Task, make_text_task

EPOCHS = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    add_text_options(parser)
    add_rows_option(parser)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    for data in arguments.data:
        print_batching(data.resolve().name, make_text_task(data, arguments, folder), arguments.markdown)


def print_batching(name: str, task: Task, markdown: bool) -> None:
    """Print the table of one data set."""
    run, size = task.untrained_run, task.config.train.batch_size
    lengths = run.train.lengths
    relation = length_goes_with_label(lengths, run.train.labels)
    title = (
        f"{name}: batches of {size} of {len(run.train):,} rows, mean length {lengths.mean():.0f}; correlation ratio "
        f"of length and label {relation:.2f}, weight of the label {run.label_weight:.2f}"
    )
    header = [
        "batches",
        "computed / real tokens",
        "cut in parts",
        "parts an update",
        "label-fraction variance / random",
    ]
    print_table(title, header, list(measure_batching(task)), markdown)


def measure_batching(task: Task) -> Iterator[list[str]]:
    """A table row for each way to make batches, over `EPOCHS` epochs."""
    run, size = task.untrained_run, task.config.train.batch_size
    lengths, labels = run.train.lengths, run.train.labels
    random = np.random.default_rng(task.config.seed)
    planners: dict[str, Callable[[int], Sequence[np.ndarray]]] = {
        "random": lambda epoch: cut_into_batches(random.permutation(len(lengths)), size),
        f"pools of {POOL} sorted by length": lambda epoch: sort_in_pools(lengths, size, random),
        OURS: lambda epoch: run.seams.batches(run.train, epoch).plan,
    }
    random_variance = None
    for name, plan_epoch in planners.items():
        plan = [rows for epoch in range(EPOCHS) for rows in plan_epoch(epoch)]
        parts = [rows[part] for rows in plan for part in cut_by_length(lengths[rows], run.cost_of_pass)]
        # The last batch of an epoch may be smaller. Its label fractions then differ more for that reason alone.
        variance = label_fraction_variance(labels, [rows for rows in plan if len(rows) == size])
        random_variance = random_variance or variance
        yield [
            name,
            f"{padding_waste(lengths, plan):.2f}",
            f"{padding_waste(lengths, parts):.2f}",
            f"{len(parts) / len(plan):.2f}",
            f"{variance / random_variance:.2f}",
        ]


def label_fraction_variance(labels: np.ndarray, plan: Sequence[np.ndarray]) -> float:
    """The variance of a label's fraction between batches, summed over the labels."""
    fractions = np.stack([np.bincount(labels[rows], minlength=labels.max() + 1) / len(rows) for rows in plan])
    return float(fractions.var(0).sum())
