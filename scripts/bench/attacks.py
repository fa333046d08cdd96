"""How far scope=matrix of fgm and pgd moves each text, in the unit of scope=text.

With epsilon 1 the matrix moves by its gradient over the batch, divided by its norm. A text moves by the norm of what
its tokens move by. If no two texts had a token in common, the mean square over the texts would be 1 / rows.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from recipes.cli import positive_integer
from recipes.data.batch import Batch
from recipes.data.splits import read_splits
from recipes.loop import TrainingRun
from recipes.models.anatomy import word_embeddings
from recipes.toolkit.adversarial import mean_word_norm
from scripts.bench.config import make_config
from scripts.bench.options import add_threads_option
from scripts.bench.tables import describe_machine, print_table

BATCHES_MEASURED = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", nargs="+", type=Path, metavar="FOLDER", help="with train and validation files")
    parser.add_argument("--model", default="minilm", help="as model=... (%(default)s)")
    parser.add_argument("--batches", nargs="+", type=positive_integer, default=[8, 32], help="rows of an update")
    parser.add_argument("--updates", type=int, default=0, help="of training before the measurement (%(default)s)")
    parser.add_argument("--max-length", type=positive_integer, default=64, help="tokens of a text (%(default)s)")
    add_threads_option(parser)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    table = [
        [data.name, str(rows), *measure(data, rows, arguments, folder)]
        for data in arguments.data
        for rows in arguments.batches
    ]
    title = (
        f"model={arguments.model}, {BATCHES_MEASURED} batches after {arguments.updates} updates ({describe_machine()})"
    )
    header = ["data", "rows", "mean distance of a text", "10 % to 90 % of texts", "times 1 / root of rows", "word norm"]
    print_table(title, header, table, arguments.markdown)


def measure(data: Path, rows: int, arguments: argparse.Namespace, folder: Path) -> list[str]:
    """The distances of texts in units of the mean norm of a word vector, as the cells of a line."""
    files = {split: next(data.glob(f"{split}.csv*")) for split in ("train", "validation")}
    config = make_config(
        [
            "data=files",
            *(f"data.{split}={path}" for split, path in files.items()),
            f"data.max_length={arguments.max_length}",
            f"model={arguments.model}",
            f"train.batch_size={rows}",
            f"train.max_updates={max(1, arguments.updates)}",
        ],
        arguments.threads,
    )
    training = TrainingRun(config, {}, read_splits(config.data, {}, test=False), Path(tempfile.mkdtemp(dir=folder)))
    batches = training.seams.batches(training.train, 0)
    for number in range(arguments.updates):
        training.seams.gradient(batches[number])
        training.seams.update()
    unit = mean_word_norm(training.bare_model, training.tokenizer)
    measured = range(arguments.updates, arguments.updates + BATCHES_MEASURED)
    distances = np.concatenate([distances_of_texts(training, batches[number]) for number in measured]) / unit
    mean, low, high = distances.mean(), *np.quantile(distances, [0.1, 0.9])
    return [f"{mean:.3f}", f"{low:.3f} to {high:.3f}", f"{mean * unit * rows**0.5:.2f}", f"{unit:.3f}"]


def distances_of_texts(training: TrainingRun, batch: Batch) -> Any:
    """How far each text moves when the matrix moves by 1 along its gradient, (row)."""
    training.optimizer.zero_grad()
    training.seams.gradient(batch)
    gradient: Any = word_embeddings(training.bare_model).weight.grad  # type: ignore[union-attr]
    moves = (gradient / gradient.norm())[batch.inputs["input_ids"]] * batch.inputs["attention_mask"][..., None]
    training.optimizer.zero_grad()
    return moves.flatten(1).norm(dim=1).numpy()
