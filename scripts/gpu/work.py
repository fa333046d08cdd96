"""What the sections of scripts/gpu_check.py share: models, texts, runs and clocks.

A section is a module of this folder. The first line of its docstring is its title on the page, and

    def describe(seconds: float) -> Iterator[str]:

yields lines of Markdown as they are known, within its seconds. It measures on `DEVICE`; on a CPU it rehearses with
sizes so small that it takes seconds. A check is a line made by `verdict`; one that fails makes the command fail. An
error ends the section with its traceback, and the others go on.
"""

import csv
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.data.splits import read_splits
from recipes.testing import temporary_root
from scripts.bench.texts import find_training_file
from scripts.bench.timed_run import TimedRun

DEVICE = "cuda"
DATA: Path | None = None
"""A folder with real texts, if the user gave one."""
FAILED = "**FAILED**"
SHAPES = {"MiniLM": (6, 384, 12), "BERT-base": (12, 768, 12)}
"""Layers, width and heads."""
REHEARSAL = (2, 32, 2)
VOCABULARY, WORDS = 30_522, 4_000
LENGTHS = {"short": (2.86, 0.52, 64), "long": (5.5, 0.6, 512)}
"""Of a text in words: the mean and the deviation of its logarithm; and the tokens at which it is cut.

Short texts have 22 tokens on average, as eda_sst2 has. Of long ones 274 are left on average, as of imdb cut at 512.
"""


def verdict(passed: bool, sentence: str) -> str:
    """The line of a check."""
    return f"passed: {sentence}" if passed else f"{FAILED}: {sentence}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """The lines of a Markdown table; all columns but the first are numbers."""
    yield ""
    yield f"| {' | '.join(header)} |"
    yield f"| --- |{' ---: |' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
    yield ""


def wait() -> None:
    """Wait for all work on the GPU."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def time_calls(function: Callable[[], object], seconds: float, least: int = 3) -> float:
    """The mean milliseconds of a call, without the first one.

    Args:
        function: what is timed.
        seconds: after which no further call is made.
        least: calls that are made whatever they take.
    """
    function()
    wait()
    start, count = time.perf_counter(), 0
    while count < least or (time.perf_counter() - start < seconds and count < 1000):
        function()
        count += 1
        # The host is far ahead of the GPU: let it catch up now and then, else the clock would be read too early.
        if count % 20 == 0:
            wait()
    wait()
    return 1000 * (time.perf_counter() - start) / count


@cache
def make_model_folder(shape: str, dropout: float = 0.1) -> Path:
    """A model with random weights and its tokenizer, on disk, as `model.name` takes it.

    Args:
        shape: of `SHAPES`; on a CPU always the small one.
        dropout: of hidden states and of attention.
    """
    layers, width, heads = SHAPES[shape] if DEVICE == "cuda" else REHEARSAL
    config = BertConfig(
        vocab_size=VOCABULARY if DEVICE == "cuda" else WORDS + 5,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    folder = Path(tempfile.mkdtemp(dir=temporary_root()))
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    vocabulary |= {f"w{number}": number + 5 for number in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


@cache
def make_text_file(kind: str, rows: int) -> Path:
    """A CSV of random words, with the lengths of `LENGTHS`; or the user's."""
    if DATA is not None:
        return find_training_file(DATA)
    mean, deviation, _ = LENGTHS[kind]
    random = np.random.default_rng(0)
    path = Path(tempfile.mkdtemp(dir=temporary_root())) / "train.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(rows):
            count = max(1, round(random.lognormal(mean, deviation)))
            writer.writerow([" ".join(f"w{word}" for word in random.integers(0, WORDS, count)), random.integers(2)])
    return path


def make_config(shape: str, kind: str, *overrides: str, rows: int = 3200, dropout: float = 0.1) -> Config:
    """The config of a run on `DEVICE`, in batches of 32.

    Args:
        shape: of `SHAPES`.
        kind: of `LENGTHS`.
        *overrides: further ones.
        rows: of the text file.
        dropout: of the model.
    """
    file = make_text_file(kind, rows)
    composed, _ = compose_config(
        [
            "data=files",
            "model=hub",
            f"model.name={make_model_folder(shape, dropout)}",
            f"data.max_length={LENGTHS[kind][2] if DEVICE == 'cuda' else 64}",
            "data.text=text",
            "data.label=label",
            f"train.batch_size={32 if DEVICE == 'cuda' else 4}",
            f"train.device={DEVICE}",
            "doctor=off",
            *overrides,
        ]
    )
    composed.data.train = composed.data.validation = str(file)
    return read(composed)


def make_run(config: Config) -> TimedRun:
    """A run that neither evaluates nor saves, in a folder of its own."""
    splits = read_splits(config.data, {}, test=False)
    with redirect_stdout(io.StringIO()):
        return TimedRun(config, build(config.tricks), splits, Path(tempfile.mkdtemp(dir=temporary_root())))


@contextmanager
def without_flushes(run: Any) -> Iterator[None]:
    """Inside this context the console reads nothing from the GPU."""
    run.console.last_flush = float("inf")
    try:
        yield
    finally:
        run.console.waiting.clear()
