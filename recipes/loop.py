"""The loop: set up one run, train it update by update, evaluate, checkpoint, resume.

    for batch in batches:
        loss = gradient(batch)
        update()

Everything that a trick may change is called through `self.seams`. The loop itself knows no trick.
"""

import inspect
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel

from recipes import guards, seams, state
from recipes.base import COST_OF_PASS, COST_OF_PASS_ON_GPU, training_seams
from recipes.config import Config
from recipes.data.batch import Batch
from recipes.data.batching import weight_of_label
from recipes.data.encoding import Encoded, clean_rows, encode
from recipes.data.splits import Splits
from recipes.graphs.mode import set_up_parts
from recipes.graphs.parts import Parts
from recipes.guards import explain_out_of_memory
from recipes.metrics import Predictions, is_better, measure
from recipes.models.anatomy import head
from recipes.models.inputs import check_token_ids, fixed_width, settle_padding
from recipes.models.loading import load_tokenizer, setting_of
from recipes.prediction.batched import halve_until_it_fits, predict_split
from recipes.reports.console import RunConsole
from recipes.reports.health import describe_early_stop
from recipes.runs.checkpoint import Checkpoints
from recipes.runs.history import START, History
from recipes.runtime.randomness import generator
from recipes.runtime.signals import Interrupted, interruptions
from recipes.runtime.steps import Answer, StepCount
from recipes.state import LiveRun
from recipes.trackers.tracking import Trackers
from recipes.trick import Trick


class TrainingRun(LiveRun):
    """One run: what its tricks may ask, and the loop over updates.

    Args:
        config: all settings.
        tricks: the selected tricks by name.
        splits: the data. The run never sees the test split.
        folder: the run folder.
    """

    def __init__(self, config: Config, tricks: Mapping[str, Trick], splits: Splits, folder: Path) -> None:
        self.config, self.tricks, self.folder = config, tricks, folder
        self.classes, self.multi_label = splits.classes, splits.multi_label
        self.notes, self.fingerprint = list(splits.notes), splits.fingerprint
        self.seams = training_seams(self, tricks)
        self.is_plain = seams.is_plain(tricks)
        self._start_counting()
        self._set_up_device()
        self._set_up_model_and_data(splits)
        self._set_up_optimizer()
        self._plan_updates()
        self.checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint.keep)
        self.history = History(folder / "history.jsonl")
        self.console = RunConsole(self)
        self.trackers = Trackers(config, folder, self.say)
        for trick in tricks.values():
            trick.prepare(self)

    def _start_counting(self) -> None:
        """The loop's own state at its start; a checkpoint replaces what it holds."""
        self.batches_done = self.parts_passed = self.since_best = self.skipped = 0
        self.steps = StepCount()
        self.unchecked: guards.Update | None = None
        self.rows_passed = self.seconds = self.seconds_at_save = self.factor = 0.0
        self.best = None
        self.evaluated: tuple[int, Predictions] | None = None
        self.grad_norm = torch.zeros(())
        self.graphs = Parts()
        self.logged: dict[str, Any] = {}
        self.lap = time.perf_counter()

    def _set_up_device(self) -> None:
        self.accelerator = self.seams.accelerator()
        self.steps.waits = self.accelerator.device.type != "cuda"
        self.cost_of_pass = COST_OF_PASS.get(self.accelerator.device.type, COST_OF_PASS_ON_GPU)

    def _set_up_model_and_data(self, splits: Splits) -> None:
        """Make tokenizer, model and encoded rows.

        In this order: a tiny tokenizer is made of the texts, and a trick on `examples` may read the model's word
        vectors.
        """
        config = self.config
        self.splits = splits.hide_test(self.clean_rows)
        train, validation = self.clean_rows(splits.train), self.clean_rows(splits.validation)
        texts = [
            [text for column in ("text", "text_pair") for text in rows[column][:] if text is not None]
            for rows in (train, validation)
        ]
        self.tokenizer = load_tokenizer(config.model, *texts)
        pad_token = self.tokenizer.pad_token
        self.max_length = min(config.data.max_length, self.tokenizer.model_max_length)
        self.bare_model = self.seams.model().to(self.accelerator.device)
        self.bare_model.train()
        # `after_step` acts after the next forward pass, which may change what such a model keeps of its batches.
        self.steps.waits |= any(isinstance(module, _BatchNorm) for module in self.bare_model.modules())
        if self.tokenizer.pad_token != pad_token:
            self.note(f"the tokenizer's padding token is {pad_token}; rows are padded with {self.tokenizer.pad_token}.")
        if self.max_length < config.data.max_length:
            self.note(f"the model reads {self.max_length} tokens, fewer than data.max_length={config.data.max_length}.")
        self.parameters = list(self.bare_model.parameters())
        self.head = head(self.bare_model)
        self.train = self.encode_rows(self.seams.examples(train))
        self._settle_padding()
        self.validation = self.encode_rows(validation)
        self.label_weight = weight_of_label(self.train.lengths, self.train.labels, config.train.batch_size)
        self.windows_at_once = 2 * config.train.batch_size

    def _settle_padding(self) -> None:
        """Pad so that no result depends on the batch."""
        own, model = self.train.padding, cast(PreTrainedModel, self.bare_model)
        padding = settle_padding(model, self.tokenizer, self.train, self.max_length, setting_of(self.config.model))
        if padding == own:
            return
        self.train = replace(self.train, padding=padding)
        self.note(
            f"rows are padded on the {padding.side} with {self.tokenizer.pad_token}"
            f"{f' to {padding.width} tokens' if padding.width else ''}, since the tokenizer's own padding (on the "
            f"{own.side}, to the longest row) would change results from batch to batch."
        )

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

    @property
    def updates(self) -> int:
        """Optimizer steps so far."""
        return self.steps.count

    @updates.setter
    def updates(self, count: int) -> None:
        self.steps.restart(count)
        self.unchecked = None

    def by_updates(self, answer: Callable[[int], Answer]) -> Answer:
        """What `answer(run.updates)` returns; the last step is waited for only if it makes a difference."""
        return self.steps.ask(answer)

    def after_step(self, action: Callable[[int], None]) -> None:
        """Call a function once it is known that this update's step was made."""
        self.steps.follow(action)

    def generator(self, purpose: str, batch: Batch) -> np.random.Generator:
        """A trick's draws for one batch: the same on every pass over it, whatever else is on."""
        return generator(self.config.seed, purpose, batch.epoch, batch.index, *batch.part)

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        self.console.say(text)

    def note(self, text: str) -> None:
        """Add a line to the run's header."""
        self.notes.append(text)

    def log(self, **values: Any) -> None:
        """Add numbers to this update's line of the history. The first process writes its own."""
        self.logged |= values

    def no_sync(self) -> AbstractContextManager[None]:
        """Inside this context processes do not average their gradients: for all parts of an update but the last."""
        if self.accelerator.num_processes == 1:
            return nullcontext()
        return cast(AbstractContextManager[None], self.accelerator.no_sync(self.model))

    def clean_rows(self, examples: Dataset) -> Dataset:
        """The same rows with every text, and every text of a pair, cleaned."""
        return clean_rows(examples, self.seams.clean) if seams.tricks_around("clean", self.tricks) else examples

    def encode_rows(self, examples: Dataset) -> Encoded:
        """Tokenize cleaned rows. Runs that would make the same tokens share them in a cache on disk."""
        tricks = [self.tricks[name] for name in seams.tricks_around("encode", self.tricks)]
        # A trick that its author has just edited makes other tokens from the same settings.
        sources = [inspect.getsource(sys.modules[type(each).__module__]) for each in tricks]
        key = [self.max_length, *map(repr, tricks), *sources]
        encoded = encode(examples, self.seams.encode, self.tokenizer, self.classes, key, fixed_width(self.bare_model))
        check_token_ids(self.bare_model, self.tokenizer, encoded, setting_of(self.config.model))
        return encoded

    # Training.

    def fit(self) -> None:
        """Train from the newest checkpoint, or from the start, to the end.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, with a checkpoint on disk.
            UserError: training diverged, the data has changed since the checkpoint, the disk is full.
        """
        counters = self._resume()
        self.graphs = set_up_parts(self, self.cost_of_pass)
        self.console.print_header()
        # A checkpoint of the loop has the weights that this leads to.
        if not self.batches_done:
            self.lap = time.perf_counter()
            self.seams.pretrain()
            self._time_lap()
        self._drop_later_lines(counters)
        with interruptions() as received, self.console.show_progress(), closing(self.graphs):
            self.trackers.start(self.batches_done + 1)
            self.lap = time.perf_counter()
            while not self._is_over():
                # The position in training alone says which epoch this is and where in it a resumed run goes on.
                batches = self.seams.batches(self.train, self.batches_done // self.updates_per_epoch)
                if len(batches) != self.updates_per_epoch:
                    raise ValueError(f"epochs differ: {len(batches)} batches, {self.updates_per_epoch} in the first")
                for batch in batches.since(self.batches_done % self.updates_per_epoch):
                    self._step(batch)
                    if self._is_due(self.config.evaluate.every):
                        self._evaluate()
                        if stop := self.early_stop:
                            self.say(describe_early_stop(stop))
                    # A signal may reach one process only, and clocks differ; all must do the same after an update.
                    signs = [int(received() > 0), int(self._is_checkpoint_due())]
                    stopped, is_due = map(bool, self._sum_over_processes(signs))
                    if stopped or is_due:
                        self._save()
                    if stopped:
                        message = f"Stopped after update {self.batches_done}; the same command goes on."
                        raise Interrupted(received() or signal.SIGTERM, message)
                    if self._is_over():
                        break

    def _step(self, batch: Batch) -> None:
        """One update: gradient, optimizer step, and a line of the history."""
        parts, self.logged = self.parts_passed, {}
        with explain_out_of_memory(self, batch):
            loss = self.seams.gradient(batch.to(self.accelerator.device))
            self.seams.update()
        self.unchecked = guards.Update(self.batches_done + 1, batch.ids, self.grad_norm)
        if self.steps.waits:
            self.settle_step()
        self.batches_done += 1
        self.console.add_update(
            update=self.batches_done,
            epoch=round(self.batches_done / self.updates_per_epoch, 6),
            loss=self._sum_over_processes(loss.composed),
            cross_entropy=self._sum_over_processes(loss.cross_entropy),
            learning_rate=max(self.base_rates) * self.factor,
            grad_norm=self.grad_norm,
            examples=batch.examples,
            parts=self.parts_passed - parts,
            seconds=self._time_lap(),
            **self.logged,
        )
        if self.console.is_due():
            self._report()

    def _report(self) -> None:
        """Write what is known so far into the history, and send it to the trackers, whose time is not training time."""
        self.console.flush()
        before = time.perf_counter()
        self.trackers.send()
        self.lap += time.perf_counter() - before

    def settle_step(self) -> None:
        """Do what waits for the outcome of the last step.

        Raises:
            UserError: training diverged.
        """
        self.steps.settle()
        if self.unchecked is not None:
            update, self.unchecked = self.unchecked, None
            guards.check_update(self, update, self.steps.last_succeeded)

    def _time_lap(self) -> float:
        """The seconds since the last lap ended, collation included. Evaluations and checkpoints are not timed."""
        before, self.lap = self.lap, time.perf_counter()
        self.seconds += self.lap - before
        return self.lap - before

    def _sum_over_processes(self, value: Any) -> Any:
        """The sum of a number over all processes."""
        if self.accelerator.num_processes == 1:
            return value
        return self.accelerator.reduce(torch.as_tensor(value, device=self.accelerator.device))

    def _is_due(self, every: float) -> bool:
        """Whether a multiple of `every` epochs has just been reached. The end of training always is one."""
        # `every` may be a fraction of an epoch that is no whole number of updates: take the nearest update.
        times = round(self.batches_done / (every * self.updates_per_epoch))
        reached = times > 0 and round(times * every * self.updates_per_epoch) == self.batches_done
        return reached or self.batches_done == self.total_updates

    def _is_checkpoint_due(self) -> bool:
        """Whether to save here: at the end and at multiples of `checkpoint.every`, if there is enough to lose.

        What a kill costs is the training since the last checkpoint. If that is short, a checkpoint costs more.
        """
        settings = self.config.checkpoint
        if self._is_over() and settings.after_finish == "keep":
            return True
        is_long = self.seconds - self.seconds_at_save >= settings.min_seconds
        return is_long and (self._is_over() or self._is_due(settings.every))

    @property
    def _needs_best(self) -> bool:
        """Whether the best weights so far must be on disk: not those of the last update, unless the run may go on."""
        is_last = self.batches_done == self.total_updates
        return self.config.evaluate.weights == "best" and (not is_last or self._is_checkpoint_due())

    def _is_over(self) -> bool:
        """Whether training ends here."""
        return self.batches_done == self.total_updates or self._patience_is_over()

    def _patience_is_over(self) -> bool:
        """Whether early stopping ends the run here."""
        patience = self.config.evaluate.early_stopping
        return patience is not None and self.since_best >= patience

    @property
    def early_stop(self) -> dict[str, Any] | None:
        """When and why early stopping ended the run before its last update; None if it did not."""
        if self.best is None or self.batches_done == self.total_updates or not self._patience_is_over():
            return None
        metric = self.config.evaluate.metric
        return {
            "update": self.batches_done,
            "planned_updates": self.total_updates,
            "metric": metric,
            "best": self.best["metrics"][metric],
            "best_update": self.best["update"],
            "evaluations_since_best": self.since_best,
        }

    def _evaluate(self) -> None:
        """Score the validation split, and save the weights if they are the best so far."""
        self.settle_step()
        self._report()
        self._time_lap()
        with self.seams.weights() as is_owned:
            predictions = self.predictions(self.validation)
            self.evaluated = None if is_owned else (self.batches_done, predictions)
            metrics = measure(predictions)
            name = self.config.evaluate.metric
            if is_better(name, metrics.get(name), self.best["metrics"][name] if self.best else None):
                self.best, self.since_best = {"update": self.batches_done, "metrics": metrics}, 0
                if self.accelerator.is_main_process and self._needs_best:
                    self.checkpoints.save_best(self.batches_done, self.bare_model.state_dict())
            else:
                self.since_best += 1
        self.console.add_evaluation(update=self.batches_done, split="validation", **metrics)
        self.console.explain_missing(predictions, metrics)
        self.trackers.send()
        self.lap = time.perf_counter()

    # Predicting.

    def predictions(self, dataset: Encoded) -> Predictions:
        """Predict a split with the weights that the model has now; rows keep the data's order."""
        predict = partial(predict_split, self, dataset, accelerator=self.accelerator)
        # One process that halves its batches alone would leave the others waiting for its share of the batches.
        smallest = 1 if self.accelerator.num_processes == 1 else self.windows_at_once
        message = (
            f"memory does not hold {smallest} validation rows at once; a smaller train.batch_size (evaluation takes "
            "twice as many rows) or data.max_length."
        )
        predicted, self.windows_at_once = halve_until_it_fits(predict, self.windows_at_once, message, smallest)
        if not np.isfinite(predicted.probabilities).all():
            raise guards.Diverged(self, f"the predictions after update {self.batches_done} contain NaN or inf")
        return predicted

    def predict_validation(self) -> Predictions:
        """Predict the validation split with the last weights, unless the last evaluation has just done so."""
        if self.evaluated is not None and self.evaluated[0] == self.batches_done:
            return self.evaluated[1]
        return self.predictions(self.validation)

    # Stopping and resuming.

    def _save(self) -> None:
        """Write a checkpoint."""
        tensors, counters = state.capture(self)
        self._report()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.batches_done, tensors, {**counters, "history": self.history.mark()})
        self.seconds_at_save = self.seconds
        self.lap = time.perf_counter()

    def _resume(self) -> dict[str, Any]:
        """Go back to the newest checkpoint that is not damaged, if there is one, and return its counters."""
        tensors, counters, notes = self.checkpoints.newest(self.history)
        self.notes += notes
        if tensors is not None:
            state.restore(self, tensors, counters)
            self.seconds_at_save = self.seconds
            self.note(f"going on after update {self.batches_done}.")
            # After the last evaluation there is nothing to select from; `_choose_weights` refuses a damaged file.
            selects_best = self.config.evaluate.weights == "best" and not self._is_over()
            if self.best and selects_best and not self.checkpoints.has_best(self.best["update"], self.batches_done):
                self.best = None
                self.note("checkpoints/best.safetensors is damaged; the best checkpoint is re-selected from here on.")
        return counters

    def _drop_later_lines(self, counters: Mapping[str, Any]) -> None:
        """Drop the lines of updates after a checkpoint: they are made again, and would stand there twice.

        Args:
            counters: of the checkpoint; none at the start.
        """
        if self.accelerator.is_main_process:
            if not counters or "history" in counters:
                self.history.go_back(counters.get("history", START))
            else:  # a checkpoint of an earlier version
                self.history.cut(self.batches_done)
            guards.forget_later_skips(self)
        self.accelerator.wait_for_everyone()
