"""Predicted texts a second, against transformers.pipeline with the same model."""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from recipes.api import FinishedRun, finetune_config
from recipes.prediction.predictors import load_predictor
from scripts.bench.config import make_config
from scripts.bench.options import add_rounds_option, add_rows_option, add_text_options
from scripts.bench.rounds import OURS, format_ratio, run_in_turns
from scripts.bench.tables import describe_machine, print_table
from scripts.bench.texts import read_texts

WARM_UP_TEXTS = 128

Predict = Callable[[list[str]], list[Any]]


def add_options(parser: argparse.ArgumentParser) -> None:
    add_text_options(parser)
    add_rows_option(parser, 1600)
    add_rounds_option(parser, 3)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    for data in arguments.data:
        print_prediction(data, arguments, folder)


def print_prediction(data: Path, arguments: argparse.Namespace, folder: Path) -> None:
    """Print the table of one data set."""
    name, rows = read_texts(data, arguments.rows)
    file = folder / f"{name}.csv"
    rows.select_columns(["text", "label"]).to_csv(file)
    run, texts = train_briefly(file, arguments, folder / f"{name}-run"), list(rows["text"])
    labels: dict[str, list[Any]] = {}

    def measure(contestant: str, predict: Predict, texts: list[str]) -> float:
        start = time.perf_counter()
        labels[contestant] = predict(texts)
        return time.perf_counter() - start

    clocks = {
        contestant: partial(measure, contestant, predict) for contestant, predict in make_contestants(run).items()
    }
    seconds = run_in_turns(clocks, texts[:WARM_UP_TEXTS], texts, arguments.rounds)
    table = []
    for contestant, times in seconds.items():
        differing = sum(one != other for one, other in zip(labels[contestant], labels[OURS], strict=True))
        median, ratio = statistics.median(times), format_ratio(times, seconds[OURS])
        table.append([contestant, f"{median:.1f}", f"{len(texts) / median:,.0f}", ratio, str(differing)])
    header = ["predicting", "seconds", "texts/s", f"time / {OURS}", "other labels"]
    title = f"{name}: {len(texts):,} texts, {arguments.rounds} rounds ({describe_machine()})"
    print_table(title, header, table, arguments.markdown)


def train_briefly(file: Path, arguments: argparse.Namespace, folder: Path) -> FinishedRun:
    """One update: the speed of a prediction does not depend on its quality."""
    overrides = ["data=files", "model=minilm", "train.max_updates=1", f"data.max_length={arguments.max_length}"]
    overrides += ["evaluate.weights=last", "evaluate.test=false"]
    with redirect_stdout(io.StringIO()):
        run = finetune_config(make_config(overrides, arguments.threads, file), folder)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return run


def make_contestants(run: FinishedRun) -> dict[str, Predict]:
    """Functions from texts to labels, by name."""
    predictor = load_predictor(run)
    classifier = pipeline("text-classification", model=str(run.folder / "model"))

    def predict_ours(texts: list[str]) -> list[Any]:
        return predictor.predict(texts, None, [str(index) for index in range(len(texts))]).names()

    def predict_with_pipeline(texts: list[str], batch_size: int) -> list[Any]:
        return [each["label"] for each in classifier(texts, batch_size=batch_size, truncation=True)]

    def predict_sorted(texts: list[str]) -> list[Any]:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        labels = predict_with_pipeline([texts[index] for index in order], 64)
        return [label for _, label in sorted(zip(order, labels, strict=True))]

    return {
        OURS: predict_ours,
        "transformers.pipeline": partial(predict_with_pipeline, batch_size=1),
        "the same, batch_size=8": partial(predict_with_pipeline, batch_size=8),
        "the same, batch_size=64": partial(predict_with_pipeline, batch_size=64),
        "the same, 64, sorted by hand": predict_sorted,
    }
