"""What a training run prints: the header, the progress bar, scores. TensorBoard gets the same numbers.

Outside a terminal, lines take the place of the bar; in a notebook, one line that is updated.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.columns import Columns
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recipes import seams
from recipes.data.batching import cut_by_length, length_goes_with_label, padding_waste
from recipes.data.encoding import class_counts
from recipes.metrics import Predictions, explain_missing
from recipes.reports.monitor import Monitor
from recipes.reports.notebook import NotebookLine
from recipes.reports.smoothing import SmoothedLoss
from recipes.reports.tables import make_console
from recipes.runtime.program import in_notebook, is_terminal
from recipes.state import LiveRun

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SAMPLE = 1000
"""Training rows that are tokenized in full to see how much `max_length` cuts off."""
BATCHES_PLANNED = 200
"""Batches of the first epoch that the header's padding is measured on."""
SECONDS_BETWEEN_FLUSHES = 1.0
SHORTEST_BAR, LONGEST_BAR = 6, 40
WIDTH_OF_PROGRESS = 74
"""Of the line of the bar, without the bar."""


class RunConsole:
    """All output of a training run: terminal, `history.jsonl` and TensorBoard. Only the main process writes.

    Args:
        run: the run to report on.
    """

    def __init__(self, run: LiveRun) -> None:
        self.run = run
        self.rich_console = make_console(soft_wrap=not is_terminal(sys.stdout))
        self.line = NotebookLine()
        self.waiting: list[dict[str, Any]] = []
        self.last_flush = time.monotonic()
        self.smoothed_loss = SmoothedLoss()
        self.monitor = Monitor(len(run.classes), run.multi_label, run.config.tricks)
        self.bar: Progress | None = None
        self.tensorboard: SummaryWriter | None = None
        self.first_update: int | None = None
        self.explained: set[str] = set()

    @property
    def is_silent(self) -> bool:
        """Whether this is not the main process, and so prints and writes nothing."""
        return not self.run.accelerator.is_main_process

    def say(self, text: str) -> None:
        """Print a line, from the main process only."""
        if not self.is_silent:
            self.rich_console.print(text, markup=False)

    # Before training.

    def print_header(self) -> None:
        """Print the data, the model, the order of tricks, and every note."""
        if self.is_silent:
            return
        sections = (
            ("data", self._describe_data()),
            ("model", self._describe_model()),
            ("order of tricks", self._describe_order()),
        )
        for title, rows in sections:
            self.rich_console.print(f"[bold]{title}[/bold]")
            for name, value in rows:
                self.rich_console.print(f"  {name:<10} {value}", markup=False)
        for note in self.run.notes:
            self.say(f"note: {note}")

    def _describe_data(self) -> Iterator[tuple[str, str]]:
        run = self.run
        train, classes = run.train, run.classes
        windows = "" if train.window_offsets is None else f" in {train.counts.sum():,} windows"
        yield "rows", f"train {len(train):,}{windows} · validation {len(run.validation):,}"

        counts = class_counts(train)
        majority, rarest = int(counts.argmax()), int(counts.argmin())
        kind = " (multi-label)" if run.multi_label else ""
        yield (
            "classes",
            (
                f"{len(classes)}{kind}: {classes[majority]} {counts[majority] / len(train):.1%} ... "
                f"{classes[rarest]} {counts[rarest]:,} rows"
            ),
        )

        median, high = np.percentile(train.lengths, [50, 95])
        rows_cut, text_cut = self._fractions_cut()
        yield (
            "tokens",
            (
                f"median {median:.0f} · 95 % {high:.0f} · longest {train.lengths.max()} · cut at {run.max_length}: "
                f"{rows_cut:.1%} of the rows, {text_cut:.1%} of the text"
            ),
        )

        correlation = length_goes_with_label(train.lengths, train.labels)
        yield (
            "batches",
            (
                f"sorted by length · length-label correlation {correlation:.2f}, so {run.label_weight:.0%} by rank "
                "within the label"
            ),
        )

        # The base cuts a batch into parts as it does in training, so these are the parts that will be passed.
        plan = [train.windows_of(batch) for batch in run.seams.batches(train, 0).plan[:BATCHES_PLANNED]]
        widths = train.window_lengths
        parts = [batch[rows] for batch in plan for rows in cut_by_length(widths[batch], run.cost_of_pass)]
        waste, passes = padding_waste(widths, parts), len(parts) / len(plan)
        yield "padding", f"computed / real tokens {waste:.2f} · {passes:.2f} parts an update"

    @cached_property
    def uncut_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """A sample of the training rows, (sample), and their tokens if nothing were cut, (sample)."""
        rows = np.unique(np.linspace(0, len(self.run.train) - 1, SAMPLE).astype(int))
        sample = self.run.train.examples.select(rows)
        texts = zip(sample["text"][:], sample["text_pair"][:], strict=True)
        # One by one: a long text takes much memory.
        return rows, np.array([len(self.run.tokenizer(text, pair)["input_ids"]) for text, pair in texts])

    def _fractions_cut(self) -> tuple[float, float]:
        """The fraction of rows that are cut, and the fraction of all tokens that is cut off; estimated on a sample."""
        rows, full_lengths = self.uncut_lengths
        read_lengths = np.minimum(full_lengths, self.run.train.lengths[rows])
        return float((full_lengths > read_lengths).mean()), float(1 - read_lengths.sum() / full_lengths.sum())

    def _describe_model(self) -> Iterator[tuple[str, str]]:
        run = self.run
        yield "name", f"{run.config.model.name or run.config.model.source} ({type(run.bare_model).__name__})"
        total = sum(each.numel() for each in run.bare_model.parameters())
        trained = sum(each.numel() for each in run.bare_model.parameters() if each.requires_grad)
        yield "parameters", f"{total / 1e6:.1f} M, {trained / 1e6:.1f} M trained"

        count, mixed = run.accelerator.num_processes, run.accelerator.mixed_precision
        processes = f" x {count} processes" if count > 1 else ""
        precision = "fp32" if mixed == "no" else mixed
        yield "device", f"{run.accelerator.device}{processes} · {precision} · {torch.get_num_threads()} threads"

        train = run.config.train
        yield (
            "training",
            (
                f"{run.total_updates} updates of {train.batch_size} · {train.schedule}, peak {train.learning_rate:g}, "
                f"warm-up {train.warmup:.0%}"
            ),
        )

    def _describe_order(self) -> Iterator[tuple[str, str]]:
        wrapped_seams = seams.wrapped_seams(self.run.tricks)
        for seam, names in wrapped_seams.items():
            yield seam, " > ".join([*names, "base"])
        if not wrapped_seams:
            yield "base", "no tricks"

    # During training.

    @contextmanager
    def show_progress(self) -> Iterator[None]:
        """Inside this context a bar is shown in a terminal, and what is written goes to TensorBoard too."""
        if self.is_silent:
            yield
            return
        self.first_update = self.run.batches_done + 1
        # A resumed run continues the smoothed loss, and repeats no message of the monitor.
        for line in self.run.history.read():
            if "split" not in line:
                self.smoothed_loss.add(line.get("loss"))
            self.monitor.read_line(line)
        width = max(SHORTEST_BAR, min(LONGEST_BAR, self.rich_console.width - WIDTH_OF_PROGRESS))
        columns = (TextColumn("{task.description}"), BarColumn(width), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.rich_console, disable=not self.rich_console.is_terminal) as self.bar:
            self.task = self.bar.add_task("training", total=self.run.total_updates, completed=self.run.batches_done)
            try:
                yield
            finally:
                self.flush()
                if self.tensorboard is not None:
                    self.tensorboard.close()

    def add_update(self, **record: Any) -> None:
        """Add an update's record. Tensors are read at the next flush, so that nothing waits for a GPU here."""
        self.waiting.append(record)

    def is_due(self) -> bool:
        """Whether it is time to flush."""
        return time.monotonic() - self.last_flush > SECONDS_BETWEEN_FLUSHES

    def flush(self) -> list[dict[str, Any]]:
        """Write the records that wait.

        Returns:
            Those records, with numbers in place of tensors.
        """
        records = [{name: _to_number(value) for name, value in record.items()} for record in self.waiting]
        self.waiting, self.last_flush = [], time.monotonic()
        if records and not self.is_silent:
            self._write_updates(records)
        return records

    def _write_updates(self, records: Sequence[dict[str, Any]]) -> None:
        self.run.history.append(records)
        for record in records:
            self._add_update_to_tensorboard(record)
            self._print_warnings(record)
        last = records[-1]
        seconds = sum(each["seconds"] for each in records)
        speed = sum(each["examples"] for each in records) / max(1e-9, seconds)
        smoothed = self.smoothed_loss.value or 0
        rates = f"learning rate {last['learning_rate']:.1e} · {speed:.0f} examples/s"
        line = f"loss {last['loss']:.3f} · smoothed {smoothed:.3f} · {rates}"
        if self.bar is not None:
            # A bar that moves needs no more than the smoothed loss, and so fits into 80 columns.
            self.bar.update(self.task, completed=last["update"], description=f"loss {smoothed:.3f} · {rates}")
        if self.line.show(f"update {last['update']}/{self.run.total_updates} · {line}"):
            return
        # Outside a terminal, a line for each tenth of training that these records complete.
        tenth = max(1, self.run.total_updates // 10)
        if not self.rich_console.is_terminal and last["update"] // tenth > (records[0]["update"] - 1) // tenth:
            self.say(f"update {last['update']}/{self.run.total_updates} · {line}")

    def _print_warnings(self, line: Mapping[str, Any]) -> None:
        for warning in self.monitor.read_line(line):
            self.say(f"watch: {warning}")

    def _add_update_to_tensorboard(self, record: Mapping[str, Any]) -> None:
        self.smoothed_loss.add(record["loss"])
        scalars = {name: record[name] for name in ("loss", "cross_entropy", "learning_rate", "grad_norm")}
        if self.smoothed_loss.value is not None:
            scalars["loss_smoothed"] = self.smoothed_loss.value
        self._add_scalars("train", scalars, record["update"])

    def _add_scalars(self, split: str, scalars: Mapping[str, float], update: int) -> None:
        if self.first_update is None:
            return
        # Late: the first numbers come after the first updates, which need not wait for these imports.
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard import SummaryWriter

        if self.tensorboard is None:
            self.tensorboard = SummaryWriter(str(self.run.folder), purge_step=self.first_update)
        if self.tensorboard.file_writer is not None:
            # One event for all scalars: an event costs the writer the same whatever it holds.
            values = [Summary.Value(tag=f"{split}/{name}", simple_value=value) for name, value in scalars.items()]
            self.tensorboard.file_writer.add_summary(Summary(value=values), update)

    def add_evaluation(self, update: int, split: str, **metrics: float) -> None:
        """Write and print the scores of a split after an update."""
        if self.is_silent:
            return
        self.run.history.append([{"update": update, "split": split, **metrics}])
        self._print_warnings({"update": update, "split": split, **metrics})
        self._add_scalars(split, metrics, update)
        if self.rich_console.is_terminal:
            metric = self.run.config.evaluate.metric
            cells = [
                f"{name} [bold]{value:.4f}[/]" if name == metric else f"{name} {value:.4f}"
                for name, value in metrics.items()
            ]
            self.rich_console.print(f"[bold]after update {update}, {split}[/]")
            self.rich_console.print(Padding(Columns(cells, equal=True, padding=(0, 3)), (0, 0, 0, 2)))
        else:
            shown = {self.run.config.evaluate.metric, "loss"} if in_notebook() else metrics
            scores = " · ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name in shown)
            self.say(f"update {update}/{self.run.total_updates} · {split} · {scores}")

    def explain_missing(self, predictions: Predictions, metrics: Mapping[str, float]) -> None:
        """Say once for each metric why it has no value on validation."""
        for name, sentence in explain_missing(predictions, metrics).items():
            if name not in self.explained:
                self.say(f"note: {sentence}")
                self.explained.add(name)


def _to_number(value: Any) -> Any:
    return float(value) if isinstance(value, torch.Tensor) else value
