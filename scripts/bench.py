"""Time the training loop and EDA against their peers, and look at what the batches do.

loop        ms an update of a model so small that the loop itself shows
throughput  examples a second of an epoch of MiniLM on real texts
fairness    no training: padding, parts and label shares of the batches
grouping    what grouping the batches does to the scores: the same training with random ones, seed by seed
tricks      what each trick costs beside none: passes, time and memory
documents   the memory of one process that trains on one document, or predicts it, against the document's length
predict     texts a second, beside transformers.pipeline
eda         variants of texts a second, with WordNet, beside nlpaug and textaugment where they are installed
doctor      what train.py looks at at every start, beside the loading before it

In training every contestant starts from the same weights and trains on the same rows, on the CPU: fused AdamW,
clipping, linear schedule, dropout on, nothing evaluated or saved. They take turns, round by round, because a machine's
speed drifts; a ratio is taken within a round, and the median is shown over the rounds. `docs/benchmarks.md` has
results.
"""

import argparse
import copy
import importlib
import importlib.util
import io
import logging
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from itertools import chain, islice, product, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import datasets
import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup, pipeline

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.api import finetune_config
from recipes.cli import exit_on_user_error
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read as read_config
from recipes.compose.tricks import build
from recipes.config import CONF, Config, Seeds
from recipes.data.batching import Batches, cut_by_length, length_goes_with_label, padding_waste
from recipes.data.encoding import Encoded
from recipes.data.splits import Splits, read_splits
from recipes.doctor.runner import check_at_start
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.metrics import measure
from recipes.prediction.predictors import opened
from recipes.reports.console import Report
from recipes.reports.tables import markdown_table
from recipes.runtime.memory import PeakMemory
from recipes.testing import required_overrides
from recipes.toolkit.words import STOP_WORDS

OURS, PLAIN = "Trickbook", "hand-written loop"
# The tiny model's data: every text is this many tokens long, so nobody pads and nobody can gain by not padding.
TOKENS, TINY_ROWS, VOCABULARY = 32, 1280, 1000
# What transformers and most hand-written loops sort at a time, in batches.
POOL = 50
WARM_UP_BATCHES = 4
EPOCHS_OF_BATCHES = 20
# EDA's, for everyone: share of the words that change, and variants of each text.
RATE, VARIANTS = 0.1, 4

Fed = TypeVar("Fed")
Clock = Callable[[], float]
Variants = Callable[[Dataset], float]
Collate = Callable[[Any], dict[str, Tensor]]


@dataclass(frozen=True)
class Task:
    """What every contestant trains."""

    config: Config
    splits: Splits
    folder: Path
    """Where runs may write."""

    @cached_property
    def run(self) -> TrainingRun:
        """A run that is set up and never trained: its rows and its weights are everybody's."""
        return TrainingRun(self.config, {}, self.splits, self._new_folder())

    def timed_run(self) -> "TimedRun":
        """A run to train, with a clock in it."""
        return TimedRun(self.config, {}, self.splits, self._new_folder())

    def model(self) -> nn.Module:
        """A copy of the weights to start from."""
        return copy.deepcopy(self.run.bare_model).train()

    def optimizer(self, model: nn.Module) -> tuple[Optimizer, LRScheduler]:
        """What one writes by hand: fused AdamW without decay on biases and norms, a linear schedule with warm-up."""
        train, updates = self.config.train, self.run.total_updates
        groups = [
            {"params": [each for each in model.parameters() if each.dim() > 1], "weight_decay": train.weight_decay},
            {"params": [each for each in model.parameters() if each.dim() <= 1], "weight_decay": 0.0},
        ]
        optimizer = AdamW(groups, lr=train.learning_rate, fused=True)
        return optimizer, get_linear_schedule_with_warmup(optimizer, int(train.warmup * updates), updates)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


# Contestants: a task in, the seconds of all its updates out.


class TimedReport(Report):
    """The report as it is, with a clock from the first update until the last one is on disk."""

    seconds: float

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Start when the loop may begin, stop when the history and TensorBoard are closed."""
        with super().progress():
            began = time.perf_counter()
            yield
        self.seconds = time.perf_counter() - began


class TimedRun(TrainingRun):
    """The real loop, which neither evaluates nor saves: its peers do not either."""

    report: TimedReport

    def __init__(self, config: Config, tricks: Mapping[str, Any], splits: Splits, folder: Path) -> None:
        super().__init__(config, tricks, splits, folder)
        self.report = TimedReport(self)

    def _evaluate(self) -> None:
        pass

    def _save(self) -> None:
        pass


def ours(task: Task) -> float:
    run = task.timed_run()
    with redirect_stdout(io.StringIO()):
        run.fit()
    return run.report.seconds


def plain(task: Task, batches: Iterable[Mapping[str, Tensor]]) -> float:
    """The loop that everybody writes by hand."""
    model = task.model()
    optimizer, schedule = task.optimizer(model)
    limit = task.config.train.clip_norm or float("inf")
    began = time.perf_counter()
    for batch in batches:
        loss = model(**batch).loss
        loss.backward()
        clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


def trainer(task: Task, rows: Any, collate: Collate, sampling: str = "random") -> float:
    """The Trainer of transformers."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.seconds = time.perf_counter() - self.began

    train, clock = task.config.train, Clock()
    arguments = TrainingArguments(
        output_dir=str(task.folder / "trainer"),
        use_cpu=True,
        per_device_train_batch_size=train.batch_size,
        train_sampling_strategy=sampling,
        max_steps=task.run.total_updates,
        optim="adamw_torch_fused",
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        max_grad_norm=train.clip_norm,
        lr_scheduler_type="linear",
        warmup_steps=train.warmup,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    peer = Trainer(task.model(), arguments, data_collator=collate, train_dataset=rows, callbacks=[clock])
    with redirect_stdout(io.StringIO()):
        peer.train()
    return clock.seconds


def lightning(task: Task, rows: Any, collate: Collate) -> float:
    """The Trainer of PyTorch Lightning."""
    import lightning as peer

    class Module(peer.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model()

        def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
            return self.model(**batch).loss

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer, schedule = task.optimizer(self.model)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

        def on_train_start(self) -> None:
            self.began = time.perf_counter()

        def on_train_end(self) -> None:
            self.seconds = time.perf_counter() - self.began

    module = Module()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises more workers, which would only take cores from the training
        loop = peer.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=task.run.total_updates,
            gradient_clip_val=task.config.train.clip_norm,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=task.folder,
        )
        loop.fit(module, DataLoader(rows, task.config.train.batch_size, shuffle=True, collate_fn=collate))
    return module.seconds


def without_padding(task: Task) -> float:
    """A bound: the hand-written loop over the same number of real tokens and no others.

    Neighbours by length share a batch, and each of its rows is cut, or goes on with its own tokens, to the batch's mean
    length. So every batch is a full rectangle, the batches are as many and of as many different lengths as in training
    (one mean length for all would make attention, which grows with the square, too cheap), and the sum of tokens is the
    real one but for rounding, by which the time is scaled.
    """
    train, size = task.run.train, task.config.train.batch_size
    batches, computed = [], 0
    for rows in cut(np.argsort(train.lengths, kind="stable"), size):
        width = round(train.lengths[rows].mean())
        bounds = zip(train.offsets[rows], train.offsets[rows + 1], strict=True)
        tokens = [np.resize(train.columns["input_ids"][begin:end], width) for begin, end in bounds]
        ids = torch.from_numpy(np.stack(tokens)).long()
        labels = torch.from_numpy(train.labels[rows])
        batches.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
        computed += ids.numel()
    return plain(task, batches) * int(train.lengths.sum()) / computed


# Variants of texts: rows in, the seconds of all their variants out. Everyone has one thread, and those are seconds of
# the processor, on which other processes of the machine weigh little.


def ours_of(folder: Path, *overrides: str, clock: Clock = time.process_time) -> Variants:
    """The trick as a run calls it, from the rows to those in the cache; several workers need the clock of the wall."""
    values = ["tricks.eda.source=wordnet", f"tricks.eda.variants={VARIANTS}", *overrides]
    config = configured(["+tricks=[eda]", *values], None)
    trick = build(config.tricks)["eda"]
    run: Any = SimpleNamespace(config=config, note=str)

    def seconds(rows: Dataset) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            os.environ["TRICKBOOK_CACHE"] = cache
            began = clock()
            trick.examples(run, lambda examples: examples, rows)
            return clock() - began

    return seconds


def nlpaug() -> dict[str, Variants]:
    import nltk
    from nlpaug.augmenter.word import RandomWordAug, SynonymAug

    # Its tagger costs most of the time of a replacement, and another download; without it a word is any part of speech.
    nltk.pos_tag = lambda tokens: [(token, "") for token in tokens]
    augmenters = {"swap": RandomWordAug(action="swap", aug_p=RATE), "delete": RandomWordAug(aug_p=RATE)}
    if nltk_has_wordnet():
        augmenters["replace"] = SynonymAug(aug_p=RATE)
    return {operation: in_lists(each.augment) for operation, each in augmenters.items()}


def textaugment() -> dict[str, Variants]:
    import nltk

    nltk.download = lambda *_: True  # on being made, it fetches what it may not need
    # The package wants gensim and googletrans, its EDA does not.
    package: Any = importlib.util.find_spec("textaugment")
    spec: Any = importlib.util.spec_from_file_location("textaugment_eda", Path(package.origin).with_name("eda.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    peer = module.EDA(stop_words=sorted(STOP_WORDS))

    def changing(operation: Callable[[str, int], str]) -> Variants:
        return in_lists(lambda texts: [operation(text, max(1, round(RATE * len(text.split())))) for text in texts])

    found = {
        "swap": changing(peer.random_swap),
        "delete": in_lists(lambda texts: [peer.random_deletion(text, RATE) for text in texts]),
    }
    return found | ({"replace": changing(peer.synonym_replacement)} if nltk_has_wordnet() else {})


def in_lists(make: Callable[[list[str]], Any]) -> Variants:
    """All texts at once, which is how the peers are fastest, as many times as there are variants."""

    def seconds(rows: Dataset) -> float:
        texts = list(rows["text"])
        began = time.process_time()
        for _ in range(VARIANTS):
            make(texts)
        return time.process_time() - began

    return seconds


def nltk_has_wordnet() -> bool:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        print("left out: replace; NLTK wants python -m nltk.downloader wordnet", file=sys.stderr)
        return False
    return True


# What the peers are fed.


class Rectangle:
    """Rows of one length, padded already; a whole batch is taken at once, which costs next to nothing."""

    def __init__(self, task: Task) -> None:
        train = task.run.train
        whole = train.collate(np.arange(len(train)), 0, 0)
        self.tensors = {**whole.inputs, "labels": torch.from_numpy(train.labels)}

    def __len__(self) -> int:
        return len(self.tensors["labels"])

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        index = torch.tensor(rows)
        return {name: values[index] for name, values in self.tensors.items()}


def as_it_is(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return batch


def ragged(task: Task) -> list[dict[str, Any]]:
    """Rows as lists of their own length."""
    train, names = task.run.train, ("input_ids", "token_type_ids")
    bounds = zip(train.offsets[:-1], train.offsets[1:], train.labels, strict=True)
    return [
        {**{name: train.columns[name][begin:end].tolist() for name in names}, "labels": int(label)}
        for begin, end, label in bounds
    ]


def padded_by(task: Task) -> Collate:
    return DataCollatorWithPadding(task.run.tokenizer)


def grouped(task: Task) -> DataLoader[dict[str, Tensor]]:
    """The usual way to group by length: sort inside pools of batches."""
    random = np.random.default_rng(task.config.seed)
    plan = sorted_pools(task.run.train.lengths, task.config.train.batch_size, random)
    return DataLoader(ragged(task), batch_sampler=[rows.tolist() for rows in plan], collate_fn=padded_by(task))


def endless(task: Task, rows: Any, collate: Collate) -> Iterator[dict[str, Tensor]]:
    """Shuffled batches, epoch after epoch, as many as the task has updates."""
    loader = DataLoader(rows, task.config.train.batch_size, shuffle=True, collate_fn=collate)
    return islice(chain.from_iterable(repeat(loader)), task.run.total_updates)


def cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[begin : begin + size] for begin in range(0, len(order), size)]


def sorted_pools(lengths: np.ndarray, size: int, random: np.random.Generator) -> list[np.ndarray]:
    """Shuffle the rows, sort them by length inside pools of batches, shuffle the batches."""
    pools = cut(random.permutation(len(lengths)), POOL * size)
    batches = [batch for pool in pools for batch in cut(pool[np.argsort(-lengths[pool], kind="stable")], size)]
    return [batches[place] for place in random.permutation(len(batches))]


# Measuring.


def take_turns(
    contestants: Mapping[str, Callable[[Fed], float]], warm_up: Fed, task: Fed, rounds: int
) -> dict[str, list[float]]:
    """Let each one run once a round; another one begins each time.

    Returns:
        Each one's seconds, round by round.
    """
    for contestant in contestants.values():
        contestant(warm_up)
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(contestants[name](task))
            print(f"round {turn + 1}/{rounds}: {name} {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return seconds


def against(seconds: Sequence[float], others: Sequence[float]) -> str:
    """The median of the rounds' ratios and, where there are several, the smallest and the largest."""
    ratios = [one / other for one, other in zip(seconds, others, strict=True)]
    spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}{spread}"


def label_share_variance(labels: np.ndarray, plan: Sequence[np.ndarray]) -> float:
    """How much the classes' shares differ from one batch to another, summed over the classes."""
    shares = np.stack([np.bincount(labels[rows], minlength=labels.max() + 1) / len(rows) for rows in plan])
    return float(shares.var(0).sum())


def batching_rows(task: Task) -> Iterator[list[str]]:
    """What each way to make batches costs, and what it does to the labels, over some epochs."""
    run, size = task.run, task.config.train.batch_size
    lengths, labels = run.train.lengths, run.train.labels
    random = np.random.default_rng(task.config.seed)
    ways: dict[str, Callable[[int], Sequence[np.ndarray]]] = {
        "random": lambda epoch: cut(random.permutation(len(lengths)), size),
        f"pools of {POOL} sorted by length": lambda epoch: sorted_pools(lengths, size, random),
        OURS: lambda epoch: run.seams.batches(run.train, epoch).plan,
    }
    by_chance = None
    for name, way in ways.items():
        plan = [rows for epoch in range(EPOCHS_OF_BATCHES) for rows in way(epoch)]
        parts = [rows[part] for rows in plan for part in cut_by_length(lengths[rows], run.cost_of_pass)]
        # A ragged last batch is smaller, so its shares differ more for that reason alone.
        varies = label_share_variance(labels, [rows for rows in plan if len(rows) == size])
        by_chance = by_chance or varies
        yield [
            name,
            f"{padding_waste(lengths, plan):.2f}",
            f"{padding_waste(lengths, parts):.2f}",
            f"{len(parts) / len(plan):.2f}",
            f"{varies / by_chance:.2f}",
        ]


# The commands.


def tiny_task(updates: int, threads: int | None, folder: Path) -> Task:
    """Texts of one length for a random model of 2 layers and width 32."""
    rows = made_up_rows(TINY_ROWS, TOKENS - 2)  # [CLS] and [SEP] make it whole
    config = configured(["model=tiny", f"train.max_updates={updates}"], threads)
    return Task(config, Splits(rows, rows.select(range(2)), None, ["0", "1"], multi_label=False), folder)


def made_up_rows(count: int, tokens: int) -> Dataset:
    """Texts of so many tokens each: every word is one."""
    random = np.random.default_rng(0)
    words = random.integers(0, VOCABULARY, (count, tokens))
    ids = [str(row) for row in range(count)]
    columns = {
        "id": ids,
        "source": ids,
        "text": [" ".join(f"w{word}" for word in row) for row in words],
        "text_pair": [None] * count,
        "label": [str(label) for label in random.integers(0, 2, count)],
    }
    return Dataset.from_dict(columns)


def text_task(data: Path, arguments: argparse.Namespace, folder: Path) -> Task:
    """The first rows of a user's file for MiniLM, one epoch."""
    path = training_file(data)
    overrides = ["data=files", "model=minilm", "train.epochs=1", f"data.max_length={arguments.max_length}"]
    # As validation too: then no rows are cut off.
    config = configured([*overrides, f"train.batch_size={arguments.batch_size}"], arguments.threads, path)
    splits = read_splits(config.data, {}, test=False)
    count = min(arguments.rows or len(splits.train), len(splits.train))
    first = splits.train.select(range(count))
    return Task(config, replace(splits, train=first, validation=first.select([0]), notes=[]), folder)


def training_file(data: Path) -> Path:
    path = next((data / name for name in ("train.csv", "train.csv.gz") if (data / name).is_file()), None)
    if path is None:
        raise UserError(f"--data {data}: there is no train.csv and no train.csv.gz in this folder.")
    return path


def configured(overrides: Sequence[str], threads: int | None, file: Path | None = None) -> Config:
    composed, _ = compose_config([*overrides, "train.device=cpu", f"train.threads={threads or 'null'}"])
    if file is not None:
        # Not as an override, so that a path may hold any character.
        composed.data.train = composed.data.validation = str(file)
    return read_config(composed)


def loop(arguments: argparse.Namespace, folder: Path) -> None:
    require("lightning")
    task = tiny_task(arguments.updates, arguments.threads, folder)
    contestants = {
        OURS: ours,
        PLAIN: lambda task: plain(task, endless(task, Rectangle(task), as_it_is)),
        "transformers Trainer": lambda task: trainer(task, Rectangle(task), as_it_is),
        "PyTorch Lightning": lambda task: lightning(task, Rectangle(task), as_it_is),
    }
    warm_up = tiny_task(WARM_UP_BATCHES, arguments.threads, folder)
    seconds = take_turns(contestants, warm_up, task, arguments.rounds)
    rows = [
        [name, f"{1000 * statistics.median(each) / arguments.updates:.2f}", against(each, seconds[PLAIN])]
        for name, each in seconds.items()
    ]
    size = task.config.train.batch_size
    title = f"{arguments.updates} updates of {size} rows of {TOKENS} tokens, {arguments.rounds} rounds ({machine()})"
    show(title, ["loop", "ms an update", f"time / {PLAIN}"], rows, arguments.markdown)


def throughput(arguments: argparse.Namespace, folder: Path) -> None:
    contestants = {
        OURS: ours,
        PLAIN: lambda task: plain(task, grouped(task)),
        "transformers Trainer": lambda task: trainer(task, ragged(task), padded_by(task)),
        "the same, group_by_length": lambda task: trainer(task, ragged(task), padded_by(task), "group_by_length"),
        "no padding at all (bound)": without_padding,
    }
    for data in arguments.data:
        task = text_task(data, arguments, folder)
        few = range(min(len(task.splits.train), WARM_UP_BATCHES * arguments.batch_size))
        warm_up = replace(task, splits=replace(task.splits, train=task.splits.train.select(few)))
        seconds = take_turns(contestants, warm_up, task, arguments.rounds)
        examples = len(task.run.train)
        rows = []
        for contestant, each in seconds.items():
            median = statistics.median(each)
            ratios = [against(each, seconds[PLAIN]), against(each, seconds[OURS])]
            rows.append([contestant, f"{median:.1f}", f"{examples / median:.0f}", *ratios])
        name = data.resolve().name
        title = (
            f"{name}: {examples:,} rows in batches of {arguments.batch_size}, {arguments.rounds} rounds ({machine()})"
        )
        header = ["loop", "seconds", "examples/s", f"time / {PLAIN}", f"time / {OURS}"]
        show(title, header, rows, arguments.markdown)
        show_batching(name, task, arguments.markdown)


def fairness(arguments: argparse.Namespace, folder: Path) -> None:
    for data in arguments.data:
        show_batching(data.resolve().name, text_task(data, arguments, folder), arguments.markdown)


def grouping(arguments: argparse.Namespace, folder: Path) -> None:
    for data in arguments.data:
        task = text_task(data, arguments, folder)
        rows = task.splits.train
        half = len(rows) // 2
        splits = replace(task.splits, train=rows.select(range(half)), validation=rows.select(range(half, 2 * half)))
        found: dict[str, list[dict[str, float]]] = {"random": [], "grouped": []}
        for seed, (name, each) in product(range(arguments.seeds), found.items()):
            train = replace(task.config.train, epochs=arguments.epochs)
            run = TimedRun(
                replace(task.config, seed=seed, seeds=Seeds(seed, seed, seed), train=train), {}, splits, folder
            )
            if name == "random":
                run.seams.batches = partial(shuffled, run.config)
            with redirect_stdout(io.StringIO()):
                run.fit()
            each.append(measure(run.predictions(run.validation)))
            print(f"seed {seed}: {name} {each[-1]['accuracy']:.4f}", file=sys.stderr, flush=True)
        title = (
            f"{data.resolve().name}: {half:,} rows trained on for {arguments.epochs:g} epochs, {half:,} others scored, "
            f"{arguments.seeds} seeds ({machine()})"
        )
        table = [
            [metric, *compared(*([score[metric] for score in each] for each in found.values()))]
            for metric in ("loss", "accuracy", "macro_f1")
        ]
        show(title, ["metric", *found, "difference, paired by seed"], table, arguments.markdown)


def tricks(arguments: argparse.Namespace, folder: Path) -> None:
    names = ["", *(arguments.tricks or sorted(path.stem for path in (CONF / "tricks").glob("*.yaml")))]
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for turn in range(arguments.rounds):
        for name in names[turn:] + names[:turn]:
            # A process for each: the most memory that it has ever held is what is read.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
                found[name].append(alone.submit(trick_cost, name, arguments, folder).result())
            print(
                f"round {turn + 1}/{arguments.rounds}: {name or 'none'}", *found[name][-1], file=sys.stderr, flush=True
            )
    seconds, memory, passes = ({name: [each[part] for each in found[name]] for name in names} for part in range(3))
    table = [
        [
            name or "none",
            f"{passes[name][0]:.2f}",
            against(seconds[name], seconds[""]),
            extra_pass(passes[name][0], seconds[name], seconds[""]),
            f"{statistics.median(memory[name]):,.0f}",
            against(memory[name], memory[""]),
        ]
        for name in names
    ]
    title = (
        f"model={arguments.model}, {arguments.updates} updates of data=pydocs, {arguments.rounds} rounds ({machine()})"
    )
    header = ["trick", "passes", "time / none", "an extra pass / none", "peak MB", "peak / none"]
    show(title, header, table, arguments.markdown)


def extra_pass(passes: float, seconds: Sequence[float], plain: Sequence[float]) -> str:
    """What each pass beyond the first costs beside a plain update, where there is a whole one."""
    if passes < 2:
        return ""
    ratios = [mine / other for mine, other in zip(seconds, plain, strict=True)]
    return f"{(statistics.median(ratios) - 1) / (passes - 1):.2f}"


def trick_cost(name: str, arguments: argparse.Namespace, folder: Path) -> tuple[float, float, float]:
    """The seconds of all updates but the first, the most memory in MB, and the passes of an update."""
    os.environ["TRICKBOOK_CACHE"] = str(folder)
    torch.set_num_threads(arguments.threads)
    overrides = ["data=pydocs", f"model={arguments.model}", f"train.max_updates={arguments.updates}"]
    if name:
        overrides += [f"+tricks=[{name}]", *required_overrides([name])]
    config = configured(overrides, arguments.threads)
    splits = read_splits(config.data, {}, test=False)
    memory = PeakMemory()
    run = TimedRun(config, build(config.tricks), splits, Path(tempfile.mkdtemp(dir=folder)))
    with redirect_stdout(io.StringIO()):
        run.fit()
    held = memory.cost(run.accelerator.device)["peak_memory_mb"]
    lines = run.history.read()
    seen = sum(line["examples"] for line in lines)
    return sum(line["seconds"] for line in lines[1:]), held, run.rows_passed / seen


def documents(arguments: argparse.Namespace, folder: Path) -> None:
    table = []
    for trick, tokens in product(arguments.tricks, arguments.tokens):
        found = []
        for work in (train_on_document, predict_document):
            # A process for each point: the most that it has ever held is what is read.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
                found.append(alone.submit(document_cost, work, trick, tokens, arguments, folder).result())
        (pieces, set_up, trained, seconds), (_, _, predicted, predict_seconds) = found
        figures = (f"{set_up:,.0f}", f"{trained:,.0f}", f"{seconds:.2f}", f"{predicted:,.0f}", f"{predict_seconds:.2f}")
        table.append([trick, f"{tokens:,}", f"{pieces:,}", *figures])
        print(*table[-1], file=sys.stderr, flush=True)
    title = (
        f"one document an update, a random model of 2 layers and width 32, pieces of {arguments.max_length} tokens "
        f"({machine()})"
    )
    header = [
        "trick",
        "tokens",
        "pieces",
        "set-up: peak MB",
        "training: peak MB",
        "s an update",
        "predicting: peak MB",
        "s",
    ]
    show(title, header, table, arguments.markdown)


def document_cost(
    work: Callable[[TimedRun], float], trick: str, tokens: int, arguments: argparse.Namespace, folder: Path
) -> tuple[int, float, float, float]:
    """The pieces of a document, the most memory until the work begins, in MB, and until it ends, and its seconds."""
    memory = PeakMemory()
    run = document_run(trick, tokens, arguments, folder)
    device, ids = run.accelerator.device, run.validation.columns["input_ids"]
    before = memory.cost(device)["peak_memory_mb"]
    seconds = work(run)
    after = memory.cost(device)["peak_memory_mb"]
    return int((ids == ids[0]).sum()), before, after, seconds  # each piece begins with the same token


def train_on_document(run: TimedRun) -> float:
    with redirect_stdout(io.StringIO()):
        run.fit()
    return run.report.seconds / run.updates


def predict_document(run: TimedRun) -> float:
    began = time.perf_counter()
    run.predictions(run.validation)
    return time.perf_counter() - began


def document_run(trick: str, tokens: int, arguments: argparse.Namespace, folder: Path) -> TimedRun:
    """A run over documents of so many tokens, one an update."""
    os.environ["TRICKBOOK_CACHE"] = str(folder)
    torch.set_num_threads(arguments.threads)
    size = f"data.max_length={arguments.max_length}"
    config = configured(
        ["model=tiny", "train.batch_size=1", "train.max_updates=2", size, f"+tricks=[{trick}]"], arguments.threads
    )
    rows = made_up_rows(2, tokens)
    splits = Splits(rows, rows.select([0]), None, ["0", "1"], multi_label=False)
    return TimedRun(config, build(config.tricks), splits, Path(tempfile.mkdtemp(dir=folder)))


def predict(arguments: argparse.Namespace, folder: Path) -> None:
    for data in arguments.data:
        predict_texts(data, arguments, folder)


def predict_texts(data: Path, arguments: argparse.Namespace, folder: Path) -> None:
    name, rows = texts_of(data, arguments.rows)
    file = folder / f"{name}.csv"
    rows.select_columns(["text", "label"]).to_csv(file)
    asked = ["data=files", "model=minilm", "train.max_updates=1", f"data.max_length={arguments.max_length}"]
    asked += ["evaluate.weights=last", "evaluate.test=false"]
    with redirect_stdout(io.StringIO()):
        run = finetune_config(configured(asked, arguments.threads, file), folder / f"{name}-run")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    reader, texts = opened(run), list(rows["text"])
    classifier = pipeline("text-classification", model=str(run.folder / "model"))
    answers: dict[str, list[Any]] = {}

    def ours(given: list[str]) -> list[Any]:
        return reader.predict(given, None, [str(place) for place in range(len(given))]).names()

    def theirs(given: list[str], batch_size: int) -> list[Any]:
        return [each["label"] for each in classifier(given, batch_size=batch_size, truncation=True)]

    def theirs_sorted(given: list[str]) -> list[Any]:
        order = sorted(range(len(given)), key=lambda place: len(given[place]))
        found = theirs([given[place] for place in order], 64)
        return [label for _, label in sorted(zip(order, found, strict=True))]

    def timed(contestant: str, answer: Callable[[list[str]], list[Any]]) -> Callable[[list[str]], float]:
        def seconds(given: list[str]) -> float:
            began = time.perf_counter()
            answers[contestant] = answer(given)
            return time.perf_counter() - began

        return seconds

    contestants = {
        OURS: ours,
        "transformers.pipeline": lambda given: theirs(given, 1),
        **{f"the same, batch_size={size}": partial(theirs, batch_size=size) for size in (8, 64)},
        "the same, 64, sorted by hand": theirs_sorted,
    }
    clocks = {contestant: timed(contestant, answer) for contestant, answer in contestants.items()}
    seconds = take_turns(clocks, texts[:128], texts, arguments.rounds)
    lines = []
    for contestant, each in seconds.items():
        differing = sum(one != other for one, other in zip(answers[contestant], answers[OURS], strict=True))
        median = statistics.median(each)
        lines.append(
            [contestant, f"{median:.1f}", f"{len(texts) / median:,.0f}", against(each, seconds[OURS]), str(differing)]
        )
    header = ["predicting", "seconds", "texts/s", f"time / {OURS}", "other labels"]
    show(f"{name}: {len(texts):,} texts, {arguments.rounds} rounds ({machine()})", header, lines, arguments.markdown)


def eda(arguments: argparse.Namespace, folder: Path) -> None:
    datasets.disable_progress_bars()
    found = {name: make for name, make in (("nlpaug", nlpaug), ("textaugment", textaugment)) if is_installed(name)}
    everyone = {f"{name}: {operation}": peer for name, make in found.items() for operation, peer in make().items()}
    operations = ("replace", "insert", "swap", "delete")
    ours = {f"{OURS}: all four": ours_of(folder, *(f"tricks.eda.{name}={RATE}" for name in operations))}
    for only in operations:
        rates = [f"tricks.eda.{name}={RATE if name == only else 0}" for name in operations]
        ours[f"{OURS}: {only}"] = ours_of(folder, *rates)
    counts = range(1, arguments.workers + 1)
    workers = {str(count): ours_of(folder, f"tricks.eda.workers={count}", clock=time.perf_counter) for count in counts}

    for data in arguments.data or [None]:
        name, rows = texts_of(data, arguments.rows)
        few = rows.select(range(min(len(rows), 50)))
        seconds = take_turns(ours | everyone, few, rows, arguments.rounds)
        table = [
            [who, per_second(rows, times), against(times, seconds[f"{OURS}: {who.partition(': ')[2]}"])]
            for who, times in seconds.items()
        ]
        title = f"{name}: {VARIANTS} variants of {len(rows):,} rows each, {arguments.rounds} rounds ({machine(*found)})"
        show(title, ["variants", "a second", f"time / {OURS}"], table, arguments.markdown)

        many = concatenate_datasets([rows] * -(-arguments.worker_rows // len(rows)))
        seconds = take_turns(workers, few, many, arguments.rounds)
        table = [[who, per_second(many, times), against(seconds["1"], times)] for who, times in seconds.items()]
        title = f"{name} over and over: {VARIANTS} variants of each of {len(many):,} rows, {arguments.rounds} rounds"
        show(title, ["workers", "variants a second", "times as fast as one"], table, arguments.markdown)


def doctor(arguments: argparse.Namespace, folder: Path) -> None:
    datasets.config.HF_DATASETS_CACHE = folder  # or what was read of these files would stay
    table = []
    for model in arguments.models:
        start_up(model, 100, arguments, folder)
        spent = [start_up(model, arguments.rows, arguments, folder) for _ in range(arguments.rounds)]
        loading, looking = zip(*spent, strict=True)
        seconds = (f"{statistics.median(each):.2f}" for each in (loading, looking))
        table.append([f"model={model}", *seconds, against(looking, loading)])
        print(*table[-1], file=sys.stderr, flush=True)
    title = f"{arguments.rows:,} texts of {arguments.tokens} words, {arguments.rounds} rounds ({machine()})"
    show(title, ["start", "loading, CPU s", "cheap checks, CPU s", "checks / loading"], table, arguments.markdown)


def start_up(model: str, rows: int, arguments: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """The seconds of the processor until a run on a new file is set up, and those of the cheap checks after it."""
    place = Path(tempfile.mkdtemp(dir=folder))
    os.environ["TRICKBOOK_CACHE"] = str(place)
    made_up_rows(rows, arguments.tokens).select_columns(["text", "label"]).to_csv(place / "train.csv")
    config = configured(["data=files", f"data.train={place / 'train.csv'}", f"model={model}"], arguments.threads)
    began = time.process_time()
    splits = read_splits(config.data, {}, test=True)
    run = TrainingRun(config, {}, splits, place)
    loaded = time.process_time()
    check_at_start(run, splits)
    return loaded - began, time.process_time() - loaded


def texts_of(data: Path | None, most: int | None) -> tuple[str, Dataset]:
    """The first rows of a user's file, or of pydocs, that are not empty: textaugment refuses those."""
    file = training_file(data) if data else None
    config = configured(["data=files" if data else "data=pydocs"], None, file)
    rows = read_splits(config.data, {}, test=False).train.filter(lambda row: row["text"].strip())
    return data.resolve().name if data else "pydocs", rows.select(range(min(most or len(rows), len(rows))))


def is_installed(package: str) -> bool:
    if importlib.util.find_spec(package):
        return True
    print(f"left out: {package}; pip install nltk, pip install --no-deps {package}", file=sys.stderr)
    return False


def per_second(rows: Dataset, seconds: Sequence[float]) -> str:
    return f"{VARIANTS * len(rows) / statistics.median(seconds):,.0f}"


def shuffled(config: Config, dataset: Encoded, epoch: int) -> Batches:
    """Batches of rows in random order."""
    order = np.random.default_rng((config.seed, epoch)).permutation(len(dataset))
    return Batches(dataset, cut(order, config.train.batch_size), epoch)


def compared(one: Sequence[float], other: Sequence[float]) -> list[str]:
    """The mean of each, and of their difference with its standard error."""
    differences = [second - first for first, second in zip(one, other, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return [
        f"{statistics.mean(one):.4f}",
        f"{statistics.mean(other):.4f}",
        f"{statistics.mean(differences):+.4f} ± {error:.4f}",
    ]


def show_batching(name: str, task: Task, markdown: bool) -> None:
    train = task.run.train
    relation = length_goes_with_label(train.lengths, train.labels)
    size = task.config.train.batch_size
    weight = task.run.label_weight
    title = (
        f"{name}: batches of {size} of {len(train):,} rows, mean length {train.lengths.mean():.0f}; correlation ratio "
        f"of length and label {relation:.2f}, weight of the label {weight:.2f}"
    )
    header = ["batches", "computed / real tokens", "cut in parts", "parts an update", "label-share variance / random"]
    show(title, header, list(batching_rows(task)), markdown)


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> None:
    """Print a table, for the terminal or as Markdown."""
    console = Console(highlight=False, soft_wrap=True, width=120)
    console.print(f"\n{title}", markup=False)
    if markdown:
        console.print("", markdown_table(header, rows), sep="\n", markup=False)
        return
    table = Table(box=box.SIMPLE_HEAD)
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def machine(*packages: str) -> str:
    """What the figures depend on beside the code."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages or ("torch", "transformers"))
    return f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores, {versions}"


def require(package: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"{package} is not installed; the peers come with: pip install -e '.[bench]'") from error


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = "loop | throughput | fairness | grouping | predict | tricks | documents | eda | doctor"
    commands = parser.add_subparsers(required=True, metavar=names)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    texts = argparse.ArgumentParser(add_help=False)
    texts.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="FOLDER",
        help="holds train.csv or train.csv.gz with the columns text and label; may be given several times",
    )
    texts.add_argument("--threads", type=positive, help="of the process; as torch finds unless given")
    texts.add_argument("--batch-size", type=positive, default=32, help="rows to an update (%(default)s)")
    texts.add_argument("--max-length", type=positive, default=256, help="tokens of one row (%(default)s)")

    command = commands.add_parser("loop", parents=[common], help="ms an update on a tiny model, against the peers")
    command.add_argument("--updates", type=positive, default=200, help="of each contestant in a round (%(default)s)")
    command.add_argument("--rounds", type=positive, default=9, help="turns of each contestant (%(default)s)")
    # Kernels this small gain nothing from a second thread, and lose much wherever another process has its core.
    command.add_argument("--threads", type=positive, default=1, help="of the process (%(default)s)")
    command.set_defaults(command=loop)

    command = commands.add_parser("throughput", parents=[common, texts], help="examples a second of an epoch of MiniLM")
    command.add_argument("--rows", type=positive, default=1600, help="how many, from the file's first on (%(default)s)")
    command.add_argument("--rounds", type=positive, default=2, help="turns of each contestant (%(default)s)")
    command.set_defaults(command=throughput)

    command = commands.add_parser(
        "predict", parents=[common, texts], help="texts a second, beside transformers.pipeline"
    )
    command.add_argument("--rows", type=positive, default=1600, help="how many, from the file's first on (%(default)s)")
    command.add_argument("--rounds", type=positive, default=3, help="turns of each contestant (%(default)s)")
    command.set_defaults(command=predict)

    command = commands.add_parser("tricks", parents=[common], help="passes, time and memory of each trick beside none")
    command.add_argument("--tricks", nargs="+", metavar="NAME", help="all unless given")
    command.add_argument("--model", default="minilm", help="as model=... (%(default)s)")
    command.add_argument("--updates", type=positive, default=12, help="of each; the first is not timed (%(default)s)")
    command.add_argument("--rounds", type=positive, default=3, help="turns of each (%(default)s)")
    command.add_argument("--threads", type=positive, default=1, help="of each process (%(default)s)")
    command.set_defaults(command=tricks)

    command = commands.add_parser("fairness", parents=[common, texts], help="what the batches do; no training")
    command.add_argument("--rows", type=positive, help="how many, from the file's first on; all unless given")
    command.set_defaults(command=fairness)

    command = commands.add_parser("grouping", parents=[common, texts], help="scores with random and grouped batches")
    command.add_argument("--rows", type=positive, default=1600, help="half to train, half to score (%(default)s)")
    command.add_argument("--epochs", type=float, default=3, help="of each training (%(default)s)")
    command.add_argument("--seeds", type=positive, default=8, help="trainings of each kind (%(default)s)")
    command.set_defaults(command=grouping)

    command = commands.add_parser("documents", parents=[common], help="memory against the length of a document")
    command.add_argument(
        "--tricks",
        nargs="+",
        default=["segments", "sliding_window"],
        metavar="TRICK",
        help="that read long texts, each by itself (%(default)s)",
    )
    command.add_argument(
        "--tokens",
        type=positive,
        nargs="+",
        default=[1_000, 3_000, 10_000, 30_000, 100_000],
        metavar="COUNT",
        help="lengths of the document (%(default)s)",
    )
    command.add_argument("--max-length", type=positive, default=512, help="tokens of one piece (%(default)s)")
    command.add_argument("--threads", type=positive, default=1, help="of each process (%(default)s)")
    command.set_defaults(command=documents)

    command = commands.add_parser("eda", parents=[common], help="variants of texts a second, against the peers")
    command.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="holds train.csv or train.csv.gz with the columns text and label; data=pydocs unless given",
    )
    command.add_argument("--rows", type=positive, help="how many, from the file's first on; all unless given")
    command.add_argument("--rounds", type=positive, default=5, help="turns of each contestant (%(default)s)")
    command.add_argument("--workers", type=positive, default=2, help="the most processes of ours (%(default)s)")
    command.add_argument("--worker-rows", type=positive, default=100_000, help="for the workers (%(default)s)")
    command.add_argument("--threads", type=positive, default=1, help="of the process (%(default)s)")
    command.set_defaults(command=eda)

    command = commands.add_parser("doctor", parents=[common], help="the cheap checks beside the loading before them")
    command.add_argument("--models", nargs="+", default=["minilm", "tiny"], metavar="MODEL", help="(%(default)s)")
    command.add_argument("--rows", type=positive, default=10_000, help="of the file (%(default)s)")
    command.add_argument("--tokens", type=positive, default=30, help="words of a text (%(default)s)")
    command.add_argument("--rounds", type=positive, default=3, help="starts, each with a new file (%(default)s)")
    command.add_argument("--threads", type=positive, default=1, help="of the process (%(default)s)")
    command.set_defaults(command=doctor)
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def main() -> None:
    arguments = read_arguments()
    with tempfile.TemporaryDirectory() as folder:
        # Token lists go where the runs go: a benchmark leaves nothing behind.
        os.environ["TRICKBOOK_CACHE"] = folder
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        arguments.command(arguments, Path(folder))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
