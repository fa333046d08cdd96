"""Prediction against transformers.pipeline and sentence-transformers' batching.

All have the same weights in bf16 and the same texts in memory. `transformers.pipeline` is given its best batching: the
texts sorted by hand, 64 at once. sentence-transformers sorts by characters, and takes 32 texts at once.
"""

import io
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from time import monotonic

from datasets import Dataset

from recipes.api import finetune_config
from recipes.config import Config
from recipes.data.splits import read_splits
from recipes.testing import temporary_root
from scripts.bench.predict import SENTENCE_TRANSFORMERS, compare_precisions, time_contestants
from scripts.bench.rounds import OURS
from scripts.gpu import work
from scripts.gpu.work import make_config, table, verdict

TEXTS = {"short": 8000, "long": 1500}
REHEARSED = 24
ROUNDS, TRAINED = 2, 200
TOLERANCE = 0.03
"""Of a probability in bf16, from fp32."""
PEERS = ("the same, batch_size=64", "the same, 64, sorted by hand", SENTENCE_TRANSFORMERS)


def describe(seconds: float) -> Iterator[str]:
    """Predict short and long texts with both shapes.

    Args:
        seconds: after which no further table begins.
    """
    start, slower, far = monotonic(), [], []
    for kind, count in TEXTS.items():
        for shape in work.SHAPES:
            if monotonic() - start > 0.7 * seconds:
                yield f"No time was left for {shape} on {kind} text."
                continue
            count = count if work.DEVICE == "cuda" else REHEARSED
            config = make_config(shape, kind, "train.max_updates=1", "evaluate.weights=last", rows=count)
            rows = read_splits(config.data, {}, test=False).train
            texts = rows["text"][:count]
            # The clocks of the contestants write to standard error.
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                run = finetune_config(with_few_rows(config, rows), new_folder() / "run")
                lines = list(time_contestants(run, texts, ROUNDS, "bf16", (OURS, *PEERS)))
                precisions = list(compare_precisions(run, texts, ("fp32", "bf16"), 1))
            yield f"{shape}, {len(texts):,} {kind} texts, in bf16:"
            yield from table(["predicting", "seconds", "texts/s", f"time / {OURS}", "other labels"], lines)
            largest = float(precisions[1][3])
            yield f"In bf16 a probability differs by at most {largest:g} from fp32; {precisions[1][4]} labels differ."
            yield ""
            slower += [f"{shape}, {kind}: {line[0]}" for line in lines[1:] if float(line[3].split()[0]) < 1]
            if largest > TOLERANCE:
                far.append(f"{shape}, {kind}")
    yield verdict(not far, f"answers in bf16 that are more than {TOLERANCE:g} from fp32: {'; '.join(far) or 'none'}")
    # On a CPU the models are so small that the figures say nothing.
    if work.DEVICE == "cuda":
        reached = "missed" if slower else "reached"
        yield f"- goal {reached}: ahead of each contestant; those that are faster: {'; '.join(slower) or 'none'}"


def with_few_rows(config: Config, rows: Dataset) -> Config:
    """The config with a file of few rows, of all labels: how well a model predicts is not measured."""
    file = str(new_folder() / "train.csv")
    rows.select(range(0, len(rows), max(1, len(rows) // TRAINED))).select_columns(["text", "label"]).to_csv(file)
    return replace(config, data=replace(config.data, train=file, validation=file))


def new_folder() -> Path:
    return Path(tempfile.mkdtemp(dir=temporary_root()))
