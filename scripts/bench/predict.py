"""Predicted texts a second, against transformers.pipeline and sentence-transformers' batching; and each precision.

All contestants have the same model and texts, and begin when their models are loaded. On a CPU the clock is processor
time, since the wall clock of a shared machine says more about its other users; use `--threads 1`. How far a precision
moves the answers is measured on the same texts, against fp32.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from recipes.api import FinishedRun, finetune_config, load
from recipes.models.loading import load_saved
from scripts.bench.config import make_config
from scripts.bench.options import add_rounds_option, add_rows_option, add_text_options
from scripts.bench.rounds import OURS, format_ratio, run_in_turns
from scripts.bench.tables import describe_machine, print_table
from scripts.bench.texts import read_texts

WARM_UP_TEXTS = 128
SENTENCE_TRANSFORMERS = "sentence-transformers' batching"
SENTENCES_AT_ONCE = 32
PRECISIONS = ("fp32", "bf16")

Predict = Callable[[list[str]], list[Any]]
read_clock = time.perf_counter if torch.cuda.is_available() else time.process_time


def add_options(parser: argparse.ArgumentParser) -> None:
    add_text_options(parser)
    add_rows_option(parser, 1600)
    add_rounds_option(parser, 3)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    for data in arguments.data:
        print_prediction(data, arguments, folder)


def print_prediction(data: Path, arguments: argparse.Namespace, folder: Path) -> None:
    """Print the tables of one data set."""
    name, rows = read_texts(data, arguments.rows)
    file = folder / f"{name}.csv"
    rows.select_columns(["text", "label"]).to_csv(file)
    run, texts = train_briefly(file, arguments, folder / f"{name}-run"), list(rows["text"])
    title = f"{name}: {len(texts):,} texts, {arguments.rounds} rounds ({describe_machine()})"
    header = ["predicting", "seconds", "texts/s", f"time / {OURS}", "other labels"]
    print_table(title, header, list(time_contestants(run, texts, arguments.rounds)), arguments.markdown)
    header = ["precision", "seconds", "time / fp32", "largest difference of a probability", "other labels"]
    print_table(title, header, list(compare_precisions(run, texts, PRECISIONS, arguments.rounds)), arguments.markdown)


def train_briefly(file: Path, arguments: argparse.Namespace, folder: Path) -> FinishedRun:
    """One update: the speed of a prediction does not depend on its quality."""
    overrides = ["data=files", "model=minilm", "train.max_updates=1", f"data.max_length={arguments.max_length}"]
    overrides += ["evaluate.weights=last", "evaluate.test=false"]
    with redirect_stdout(io.StringIO()):
        run = finetune_config(make_config(overrides, arguments.threads, file), folder)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return run


def time_contestants(
    run: FinishedRun, texts: list[str], rounds: int, precision: str = "fp32", names: Sequence[str] = ()
) -> Iterator[list[str]]:
    """Yield the line of each contestant: seconds, texts a second, ratio to ours, and labels that differ from ours.

    Args:
        run: whose model all have.
        texts: to predict.
        rounds: how often each contestant runs.
        precision: of all, fp32 or bf16.
        names: of the contestants, ours first; all if there are none.
    """
    labels: dict[str, list[Any]] = {}

    def measure(contestant: str, predict: Predict, texts: list[str]) -> float:
        start = read_clock()
        labels[contestant] = predict(texts)
        return read_clock() - start

    contestants = make_contestants(run.folder, precision)
    clocks = {contestant: partial(measure, contestant, contestants[contestant]) for contestant in names or contestants}
    seconds = run_in_turns(clocks, texts[:WARM_UP_TEXTS], texts, rounds)
    for contestant, times in seconds.items():
        differing = sum(one != other for one, other in zip(labels[contestant], labels[OURS], strict=True))
        median, ratio = statistics.median(times), format_ratio(times, seconds[OURS])
        yield [contestant, f"{median:.2f}", f"{len(texts) / median:,.0f}", ratio, str(differing)]


def make_contestants(folder: Path, precision: str) -> dict[str, Predict]:
    """Functions from texts to labels, by name; all on the GPU if there is one, in the same precision."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model, ours = folder / "model", load(folder, precision=precision)
    classifier = pipeline("text-classification", model=str(model), device=device, dtype=dtype)
    encoder = load_saved(AutoModelForSequenceClassification, model, dtype=dtype).to(device).eval()
    tokenizer = load_saved(AutoTokenizer, model)

    def predict_with_pipeline(texts: list[str], batch_size: int) -> list[Any]:
        return [each["label"] for each in classifier(texts, batch_size=batch_size, truncation=True)]

    def predict_sorted(texts: list[str]) -> list[Any]:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        labels = predict_with_pipeline([texts[index] for index in order], 64)
        return [label for _, label in sorted(zip(order, labels, strict=True))]

    return {
        OURS: lambda texts: ours.predict(texts).names(),
        "transformers.pipeline": partial(predict_with_pipeline, batch_size=1),
        "the same, batch_size=8": partial(predict_with_pipeline, batch_size=8),
        "the same, batch_size=64": partial(predict_with_pipeline, batch_size=64),
        "the same, 64, sorted by hand": predict_sorted,
        SENTENCE_TRANSFORMERS: partial(predict_by_characters, encoder, tokenizer),
    }


def predict_by_characters(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Predict as sentence-transformers does: longest texts first, by characters, 32 at once."""
    order = np.argsort([-len(text) for text in texts], kind="stable")
    labels = [""] * len(texts)
    for start in range(0, len(texts), SENTENCES_AT_ONCE):
        rows = order[start : start + SENTENCES_AT_ONCE]
        encoded = tokenizer([texts[row] for row in rows], padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            probabilities = model(**encoded.to(model.device)).logits.softmax(-1)
        for row, number in zip(rows, probabilities.argmax(1).tolist(), strict=True):
            labels[row] = model.config.id2label[number]
    return labels


def compare_precisions(
    run: FinishedRun, texts: list[str], precisions: Sequence[str], rounds: int
) -> Iterator[list[str]]:
    """Yield the line of each precision: seconds, and how far its answers are from those of the first."""
    predictors = {name: load(run.folder, precision=name) for name in precisions}
    answers = {}

    def measure(precision: str, texts: list[str]) -> float:
        start = read_clock()
        answers[precision] = predictors[precision].predict(texts)
        return read_clock() - start

    clocks = {name: partial(measure, name) for name in precisions}
    seconds = run_in_turns(clocks, texts[:WARM_UP_TEXTS], texts, rounds)
    first = answers[precisions[0]]
    for name, times in seconds.items():
        difference = float(np.abs(answers[name].probabilities - first.probabilities).max())
        differing = sum(one != other for one, other in zip(answers[name].names(), first.names(), strict=True))
        ratio = format_ratio(times, seconds[precisions[0]])
        yield [name, f"{statistics.median(times):.2f}", ratio, f"{difference:.4f}", str(differing)]
