"""What a person sees of a run: the header, the bar, tables, TensorBoard. Lines instead of a bar outside a terminal."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from recipes import seams
from recipes.data.batching import cut_by_length, length_goes_with_label, padding_waste
from recipes.data.encoding import class_counts
from recipes.reports.monitor import Watch
from recipes.reports.tables import score_table
from recipes.state import LiveRun

SMOOTHING = 0.98
SAMPLE = 1000
SECONDS_BETWEEN_FLUSHES = 1.0


class Report:
    """Everything a run tells, on the main process; silent on the others.

    Args:
        run: whose story it is.
    """

    def __init__(self, run: LiveRun) -> None:
        """Nothing is written yet."""
        self.run = run
        self.console = Console(stderr=False, highlight=False, soft_wrap=not sys.stdout.isatty())
        self.waiting: list[dict[str, Any]] = []
        self.flushed = time.monotonic()
        self.smoothed = 0.0
        self.weight = 0.0
        self.watch = Watch(len(run.classes), run.multi_label, run.config.tricks)
        self.bar: Progress | None = None
        self.board: SummaryWriter | None = None

    @property
    def silent(self) -> bool:
        """Whether another process does the talking."""
        return not self.run.accelerator.is_main_process

    def say(self, text: str) -> None:
        """Print a line."""
        if not self.silent:
            self.console.print(text, markup=False)

    # Before.

    def header(self) -> None:
        """The data card, the model card, the onion, and every note."""
        if self.silent:
            return
        for title, rows in (("data", self._data_card()), ("model", self._model_card()), ("onion", self._onion())):
            self.console.print(f"[bold]{title}[/bold]")
            for name, value in rows:
                self.console.print(f"  {name:<10} {value}", markup=False)
        for note in self.run.notes:
            self.say(f"note: {note}")

    def _data_card(self) -> Iterator[tuple[str, str]]:
        run = self.run
        train, classes = run.train, run.classes
        counts = class_counts(train)
        most, least = int(counts.argmax()), int(counts.argmin())
        windows = "" if train.window_offsets is None else f" in {train.counts.sum():,} windows"
        yield "rows", f"train {len(train):,}{windows} · validation {len(run.validation):,}"
        yield (
            "classes",
            (
                f"{len(classes)}{' (multi_label to a row)' if run.multi_label else ''}: "
                f"{classes[most]} {counts[most] / len(train):.1%} ... {classes[least]} {counts[least]:,} rows"
            ),
        )
        lengths = train.lengths
        median, high = np.percentile(lengths, [50, 95])
        rows_cut, text_cut = self._share_cut()
        yield (
            "tokens",
            (
                f"median {median:.0f} · 95 % {high:.0f} · longest {lengths.max()} · cut at {run.max_length}: "
                f"{rows_cut:.1%} of the rows, {text_cut:.1%} of the text"
            ),
        )
        plan = [train.windows_of(batch) for batch in run.seams.batches(train, 0).plan[:200]]
        widths = train.window_lengths
        parts = [batch[rows] for batch in plan for rows in cut_by_length(widths[batch], run.cost_of_pass)]
        relation = length_goes_with_label(lengths, train.labels)
        yield (
            "batches",
            f"by length · length goes with label {relation:.2f}, so {run.label_weight:.0%} by rank within the label",
        )
        waste, passes = padding_waste(widths, parts), len(parts) / len(plan)
        yield "padding", f"computed / real tokens {waste:.2f} · {passes:.2f} parts an update"

    @cached_property
    def uncut(self) -> tuple[np.ndarray, np.ndarray]:
        """A sample of the training rows, and the tokens that each would have if nothing were cut."""
        rows = np.unique(np.linspace(0, len(self.run.train) - 1, SAMPLE).astype(int))
        sample = self.run.train.examples.select(rows)
        texts = zip(sample["text"], sample["text_pair"], strict=True)  # one by one: a long text takes much memory
        return rows, np.array([len(self.run.tokenizer(text, pair)["input_ids"]) for text, pair in texts])

    def _share_cut(self) -> tuple[float, float]:
        """How many rows lose their tail, and how much of all text that is; read on a sample."""
        rows, whole = self.uncut
        kept = np.minimum(whole, self.run.train.lengths[rows])
        return float((whole > kept).mean()), float(1 - kept.sum() / whole.sum())

    def _model_card(self) -> Iterator[tuple[str, str]]:
        run = self.run
        trained = sum(each.numel() for each in run.bare_model.parameters() if each.requires_grad)
        whole = sum(each.numel() for each in run.bare_model.parameters())
        yield "name", f"{run.config.model.name or run.config.model.source} ({type(run.bare_model).__name__})"
        yield "parameters", f"{whole / 1e6:.1f} M, {trained / 1e6:.1f} M trained"
        device, precision = run.accelerator.device, run.accelerator.mixed_precision
        processes = run.accelerator.num_processes
        yield (
            "device",
            (
                f"{device}{f' x {processes} processes' if processes > 1 else ''} · "
                f"{'fp32' if precision == 'no' else precision} · {torch.get_num_threads()} threads"
            ),
        )
        train = run.config.train
        yield (
            "training",
            (
                f"{run.total_updates} updates of {train.batch_size} · {train.schedule}, peak {train.learning_rate:g}, "
                f"warm-up {train.warmup:.0%}"
            ),
        )

    def _onion(self) -> Iterator[tuple[str, str]]:
        wrapped_seams = seams.wrapped_seams(self.run.tricks)
        for seam, names in wrapped_seams.items():
            yield seam, " > ".join([*names, "base"])
        if not wrapped_seams:
            yield "base", "no tricks"

    # During.

    @contextmanager
    def progress(self) -> Iterator[None]:
        """A bar in a terminal, lines elsewhere; TensorBoard either way."""
        if self.silent:
            yield
            return
        self.board = SummaryWriter(str(self.run.folder), purge_step=self.run.batches_done + 1)
        for line in self.run.history.read():  # a resumed run's curve goes on where it was, and nothing is said twice
            self._smooth(line.get("loss") if "split" not in line else None)
            self.watch.see(line)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as self.bar:
            self.task = self.bar.add_task("training", total=self.run.total_updates, completed=self.run.batches_done)
            try:
                yield
            finally:
                self.flush()
                self.board.close()

    def update(self, **record: Any) -> None:
        """Take an update's record; tensors are read later, so that a GPU need not be waited for."""
        self.waiting.append(record)

    def is_due(self) -> bool:
        """Whether it is time to flush."""
        return time.monotonic() - self.flushed > SECONDS_BETWEEN_FLUSHES

    def flush(self) -> list[dict[str, Any]]:
        """Write what waits; gives it back as numbers."""
        records = [{name: _plain(value) for name, value in record.items()} for record in self.waiting]
        self.waiting, self.flushed = [], time.monotonic()
        if records and not self.silent:
            self._tell(records)
        return records

    def _tell(self, records: Sequence[dict[str, Any]]) -> None:
        self.run.history.append(records)
        for record in records:
            self._draw(record)
            self._watch(record)
        last = records[-1]
        speed = sum(each["examples"] for each in records) / max(1e-9, sum(each["seconds"] for each in records))
        line = (
            f"loss {last['loss']:.3f} · smoothed {self.smoothed / self.weight if self.weight else 0:.3f} · "
            f"rate {last['learning_rate']:.1e} · {speed:.0f} examples/s"
        )
        if self.bar is not None:
            self.bar.update(self.task, completed=last["update"], description=line)
        every = max(1, self.run.total_updates // 10)
        if not self.console.is_terminal and last["update"] // every > (records[0]["update"] - 1) // every:
            self.say(f"update {last['update']}/{self.run.total_updates} · {line}")

    def _watch(self, line: Mapping[str, Any]) -> None:
        for sentence in self.watch.see(line):
            self.say(f"watch: {sentence}")

    def _smooth(self, loss: float | None) -> None:
        if loss is not None and np.isfinite(loss):
            self.smoothed = SMOOTHING * self.smoothed + (1 - SMOOTHING) * loss
            self.weight = SMOOTHING * self.weight + (1 - SMOOTHING)

    def _draw(self, record: Mapping[str, Any]) -> None:
        self._smooth(record["loss"])
        scalars = {name: record[name] for name in ("loss", "cross_entropy", "learning_rate", "grad_norm")}
        if self.weight:
            scalars["loss_smoothed"] = self.smoothed / self.weight
        self._write("train", scalars, record["update"])

    def _write(self, split: str, scalars: Mapping[str, float], update: int) -> None:
        """One event for all: the writer's cost is by the event."""
        if self.board is not None and self.board.file_writer is not None:
            values = [Summary.Value(tag=f"{split}/{name}", simple_value=value) for name, value in scalars.items()]
            self.board.file_writer.add_summary(Summary(value=values), update)

    def evaluation(self, update: int, split: str, **metrics: float) -> None:
        """Take an evaluation's scores."""
        if self.silent:
            return
        self.run.history.append([{"update": update, "split": split, **metrics}])
        self._watch({"update": update, "split": split, **metrics})
        self._write(split, metrics, update)
        if self.console.is_terminal:
            self.console.print(score_table({split: metrics}, f"after update {update}"))
        else:
            scores = " · ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            self.say(f"update {update}/{self.run.total_updates} · {split} · {scores}")


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, torch.Tensor) else value
