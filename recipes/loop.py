"""The loop: one run of fine-tuning, from a config and examples to a model and its scores.

    for batch in batches:
        loss = gradient(batch)
        update()

All that a trick may bend is called through `self.seams`; the loop itself never learns a trick's name.
"""

import math
import signal
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset

from recipes import guards, seams, state
from recipes.base import COST_OF_PASS, COST_OF_PASS_ON_GPU, training_seams
from recipes.config import Config
from recipes.data.batch import Batch
from recipes.data.batching import weight_of_label
from recipes.data.encoding import Encoded, cleaned, encode
from recipes.data.splits import Splits
from recipes.guards import told_of_memory
from recipes.metrics import Predictions, better, measure
from recipes.models.anatomy import head
from recipes.models.loading import load_tokenizer
from recipes.prediction.batched import as_it_fits, predict_split
from recipes.reports.console import Report
from recipes.runs.checkpoint import Checkpoints
from recipes.runs.history import History
from recipes.runtime.randomness import generator
from recipes.runtime.signals import Interrupted, interruptions
from recipes.state import LiveRun
from recipes.trick import Trick


class TrainingRun(LiveRun):
    """One run: what its tricks see, and the loop over updates.

    Args:
        config: all settings.
        tricks: the selected ones, by name.
        splits: the data. The test split stays closed.
        folder: where checkpoints and history go.
    """

    def __init__(self, config: Config, tricks: Mapping[str, Trick], splits: Splits, folder: Path) -> None:
        self.config, self.tricks, self.folder = config, tricks, folder
        self.classes, self.multi_label = splits.classes, splits.multi_label
        self.notes, self.fingerprint = list(splits.notes), splits.fingerprint
        self.seams = training_seams(self, tricks)
        self.is_plain = not (seams.around("loss", tricks) or seams.around("objective", tricks))
        self._start_counting()
        self._set_up_device()
        self._set_up_model_and_data(splits)
        self._set_up_optimizer()
        self._plan_updates()
        self.checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint.keep)
        self.history = History(folder / "history.jsonl")
        self.report = Report(self)

    def _start_counting(self) -> None:
        """The loop's own state at its start; a checkpoint replaces what it holds."""
        self.updates = self.batches_done = self.parts_passed = self.since_best = self.skipped = 0
        self.rows_passed = self.seconds = self.factor = 0.0
        self.best = None
        self.grad_norm = torch.zeros(())
        self.logged: dict[str, Any] = {}
        self.lap = time.perf_counter()

    def _set_up_device(self) -> None:
        self.accelerator = self.seams.accelerator()
        self.cost_of_pass = COST_OF_PASS.get(self.accelerator.device.type, COST_OF_PASS_ON_GPU)

    def _set_up_model_and_data(self, splits: Splits) -> None:
        """Make tokenizer, model and encoded rows.

        In this order: a tiny tokenizer is made of the texts, and a trick on `examples` may read the model's word
        vectors.
        """
        config = self.config
        self.splits = splits.opened(self.cleaned)
        train, validation = self.cleaned(splits.train), self.cleaned(splits.validation)
        texts = [text for column in ("text", "text_pair") for text in train[column] if text is not None]
        self.tokenizer = load_tokenizer(config.model, texts)
        self.max_length = min(config.data.max_length, self.tokenizer.model_max_length)
        self.bare_model = self.seams.model()
        self.bare_model.train()
        self.parameters = list(self.bare_model.parameters())
        self.head = head(self.bare_model)
        self.train = self.encoded(self.seams.examples(train))
        self.validation = self.encoded(validation)
        self.label_weight = weight_of_label(self.train.lengths, self.train.labels, config.train.batch_size)
        self.windows_at_once = 2 * config.train.batch_size

    def _set_up_optimizer(self) -> None:
        optimizer = self.seams.optimizer(self.bare_model)
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        self.model, self.optimizer = self.accelerator.prepare(self.bare_model, optimizer)

    def _plan_updates(self) -> None:
        self.updates_per_epoch = len(self.seams.batches(self.train, 0))
        # Rounded before it is raised: 0.7 epochs of 10 updates are 7, though the product is a little more.
        in_epochs = math.ceil(round(self.config.train.epochs * self.updates_per_epoch, 6))
        self.total_updates = self.config.train.max_updates or in_epochs

    # What tricks may ask.

    def generator(self, purpose: str, batch: Batch) -> np.random.Generator:
        """A trick's draws for one batch: the same on every pass over it, whatever else is on."""
        return generator(self.config.seed, purpose, batch.epoch, batch.index, *batch.part)

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        self.report.say(text)

    def note(self, text: str) -> None:
        """Add a line to the run's header."""
        self.notes.append(text)

    def log(self, **values: Any) -> None:
        """Add numbers to this update's line of the history; those of the first process are written."""
        self.logged |= values

    def no_sync(self) -> AbstractContextManager[None]:
        """Inside this context the processes keep their gradients to themselves: all parts of an update but the last."""
        if self.accelerator.num_processes == 1:
            return nullcontext()
        return cast(AbstractContextManager[None], self.accelerator.no_sync(self.model))

    def cleaned(self, examples: Dataset) -> Dataset:
        """A split with every text, and pair, as the tricks on `clean` leave it."""
        return cleaned(examples, self.seams.clean) if seams.around("clean", self.tricks) else examples

    def encoded(self, examples: Dataset) -> Encoded:
        """A cleaned split as the model sees it; the cache is shared by all runs that would make the same."""
        shaping = [repr(self.tricks[name]) for name in seams.around("encode", self.tricks)]
        return encode(examples, self.seams.encode, self.tokenizer, self.classes, [self.max_length, *shaping])

    # Training.

    def fit(self) -> None:
        """Train from where the run stands to its end; the newest checkpoint is where it stands.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, with a checkpoint on disk.
            UserError: training diverged, the data has changed since the checkpoint, the disk is full.
        """
        self._resume()
        self.report.header()
        with interruptions() as received, self.report.progress():
            self.lap = time.perf_counter()
            while self.batches_done < self.total_updates and not self._patience_is_over():
                batches = self.seams.batches(self.train, self.batches_done // self.updates_per_epoch)
                if len(batches) != self.updates_per_epoch:
                    raise ValueError(f"epochs differ: {len(batches)} batches, {self.updates_per_epoch} in the first")
                for batch in batches.since(self.batches_done % self.updates_per_epoch):
                    self._step(batch)
                    if self._due(self.config.evaluate.every):
                        self._evaluate()
                    ended = self.batches_done == self.total_updates or self._patience_is_over()
                    stopped = bool(self._over_ranks(int(received() > 0)))
                    if ended or stopped or self._due(self.config.checkpoint.every):
                        self._save()
                    if stopped:
                        said = f"Stopped after update {self.batches_done}; the same command goes on."
                        raise Interrupted(received() or signal.SIGTERM, said)
                    if ended:
                        break

    def _step(self, batch: Batch) -> None:
        parts, updates, self.logged = self.parts_passed, self.updates, {}
        with told_of_memory(self, batch):
            loss = self.seams.gradient(batch.to(self.accelerator.device))
            self.seams.update()
        guards.see(self, batch, updates)
        self.batches_done += 1
        self.report.update(
            update=self.batches_done,
            epoch=round(self.batches_done / self.updates_per_epoch, 6),
            loss=self._over_ranks(loss.composed),
            cross_entropy=self._over_ranks(loss.cross_entropy),
            learning_rate=max(self.base_rates) * self.factor,
            grad_norm=self.grad_norm,
            examples=batch.examples,
            parts=self.parts_passed - parts,
            seconds=self._time_lap(),
            **self.logged,
        )
        if self.report.is_due():
            self.report.flush()

    def _time_lap(self) -> float:
        """The seconds since the last lap ended, collation and all; evaluations and checkpoints are laps of none."""
        before, self.lap = self.lap, time.perf_counter()
        self.seconds += self.lap - before
        return self.lap - before

    def _over_ranks(self, share: Any) -> Any:
        """The sum of what the processes have."""
        if self.accelerator.num_processes == 1:
            return share
        return self.accelerator.reduce(torch.as_tensor(share, device=self.accelerator.device))

    def _due(self, every: float) -> bool:
        """Whether a multiple of so many epochs has just been reached; the end of training always is one."""
        times = round(self.batches_done / (every * self.updates_per_epoch))
        reached = times > 0 and round(times * every * self.updates_per_epoch) == self.batches_done
        return reached or self.batches_done == self.total_updates

    def _patience_is_over(self) -> bool:
        patience = self.config.evaluate.early_stopping
        return patience is not None and self.since_best >= patience

    def _evaluate(self) -> None:
        self.report.flush()
        self._time_lap()
        with self.seams.weights():
            metrics = measure(self.predictions(self.validation))
            name = self.config.evaluate.metric
            if self.best is None or better(name, metrics[name], self.best["metrics"][name]):
                self.best, self.since_best = {"update": self.batches_done, "metrics": metrics}, 0
                if self.accelerator.is_main_process:
                    self.checkpoints.save_best(self.batches_done, self.bare_model.state_dict())
            else:
                self.since_best += 1
        self.report.evaluation(update=self.batches_done, split="validation", **metrics)
        self.lap = time.perf_counter()

    # Predicting.

    def predictions(self, dataset: Encoded) -> Predictions:
        """Predict a split with the weights that the model has now; rows come back in the data's order."""
        predict = partial(predict_split, self, dataset, accelerator=self.accelerator)
        # A process that halves its batches alone would keep the others waiting.
        smallest = 1 if self.accelerator.num_processes == 1 else self.windows_at_once
        told = (
            f"memory does not hold {smallest} validation rows at once; a smaller train.batch_size (evaluation takes "
            "twice as many rows) or data.max_length."
        )
        found, self.windows_at_once = as_it_fits(predict, self.windows_at_once, told, smallest)
        if not np.isfinite(found.probabilities).all():
            raise guards.Diverged(self, f"the predictions after update {self.batches_done} are not all numbers")
        return found

    # Stopping and going on.

    def _save(self) -> None:
        self.report.flush()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.batches_done, *state.capture(self))
        self.lap = time.perf_counter()

    def _resume(self) -> None:
        tensors, counters, notes = self.checkpoints.newest()
        self.notes += notes
        if tensors is not None:
            state.restore(self, tensors, counters)
            self.note(f"going on after update {self.batches_done}.")
            if self.best and not self.checkpoints.has_best(self.best["update"], self.batches_done):
                self.best = None
                self.note("checkpoints/best.safetensors is damaged; the best weights are sought anew from here on.")
        if self.accelerator.is_main_process:
            self.history.cut(self.batches_done)
            guards.go_back(self)
        self.accelerator.wait_for_everyone()
