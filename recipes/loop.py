"""The loop: one run of fine-tuning, from a config and examples to a model and its scores.

    for batch in batches:
        loss = gradient(batch)
        update()

All that a trick may bend is called through `self.seams`; the loop itself never learns a trick's name.
"""

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from recipes import checkpoint, order
from recipes.base import COST_OF_PASS, COST_OF_PASS_ON_GPU, Base
from recipes.batch import Batch
from recipes.config import Config
from recipes.data import Splits
from recipes.encoding import Encoded, encode
from recipes.folder import History
from recipes.interruption import Interrupted, interruptions
from recipes.metrics import Predictions, better, measure
from recipes.model import head, load_tokenizer
from recipes.prediction import predict_split
from recipes.randomness import generator
from recipes.report import Report
from recipes.trick import Trick

# What a checkpoint counts; everything else is a tensor, or follows from the config.
COUNTERS = ("updates", "batches_done", "rows_passed", "parts_passed", "since_best", "best", "seconds")


class Run:
    """One run: what tricks see, and the loop over updates.

    Args:
        config: everything that decides it.
        tricks: the selected ones, by name.
        splits: train and validation; the test split never comes here.
        folder: where checkpoints and history go.
    """

    def __init__(self, config: Config, tricks: Mapping[str, Trick], splits: Splits, folder: Path) -> None:
        """Load the model, encode the data, and wrap every seam; nothing is trained yet."""
        self.config, self.tricks, self.splits, self.folder = config, tricks, splits.without_test(), folder
        self.notes = list(splits.notes)
        self.updates = self.batches_done = self.rows_passed = self.parts_passed = self.since_best = 0
        self.best: dict[str, Any] | None = None
        self.seconds, self.factor, self.grad_norm = 0.0, 0.0, torch.zeros(())
        base = Base(self)
        seams = [seam for seam in order.SEAMS if seam != "train"]
        self.seams = SimpleNamespace(**{seam: order.compose(seam, getattr(base, seam), tricks, self) for seam in seams})
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        self.accelerator: Accelerator = self.seams.accelerator()
        self.cost_of_pass = COST_OF_PASS.get(self.accelerator.device.type, COST_OF_PASS_ON_GPU)
        train = splits.train
        if order.around("clean", tricks):
            train = train.map(lambda row: {"text": self.seams.clean(row["text"])})
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(config.model, train["text"])
        self.max_length = min(config.data.max_length, self.tokenizer.model_max_length)
        self.train = self.encoded(self.seams.examples(train))
        self.validation = self.encoded(splits.validation)
        self.bare_model: nn.Module = self.seams.model()
        self.bare_model.train()
        self.head = head(self.bare_model)
        optimizer = self.seams.optimizer(self.bare_model)
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        self.model, self.optimizer = self.accelerator.prepare(self.bare_model, optimizer)
        self.updates_per_epoch = len(self.seams.batches(self.train, 0))
        self.total_updates = config.train.max_updates or math.ceil(config.train.epochs * self.updates_per_epoch)
        self.checkpoints = checkpoint.Checkpoints(folder / "checkpoints", config.checkpoint.keep)
        self.history = History(folder / "history.jsonl")
        self.report = Report(self)

    # What tricks may ask.

    def generator(self, purpose: str, batch: Batch) -> np.random.Generator:
        """A trick's draws for one batch: the same on every pass over it, whatever else is on."""
        return generator(self.config.seed, purpose, batch.epoch, batch.index, *batch.part)

    def note(self, text: str) -> None:
        """Say something in the run's header."""
        self.notes.append(text)

    def no_sync(self) -> AbstractContextManager[None]:
        """Inside this context the processes keep their gradients to themselves: all parts of an update but the last."""
        if self.accelerator.num_processes == 1:
            return nullcontext()
        return cast(AbstractContextManager[None], self.accelerator.no_sync(self.model))

    def encoded(self, examples: Any) -> Encoded:
        """A split as the model sees it; the cache is shared by all runs that would make the same."""
        tokenizer = getattr(self.tokenizer, "backend_tokenizer", None)
        shaping = [repr(self.tricks[name]) for name in order.around("encode", self.tricks)]
        key = [tokenizer.to_str() if tokenizer else self.config.model.name, self.max_length, *shaping]
        return encode(examples, self.seams.encode, self.tokenizer, self.splits.classes, key)

    # Training.

    def fit(self) -> None:
        """Train from where the run stands to its end; the newest checkpoint is where it stands.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, with a checkpoint on disk.
            UserError: the loss is no number, the disk is full.
        """
        self._resume()
        self.report.header()
        with interruptions() as stopped, self.report.progress():
            while self.batches_done < self.total_updates and not self._patience_is_over():
                batches = self.seams.batches(self.train, self.batches_done // self.updates_per_epoch)
                for batch in batches.since(self.batches_done % self.updates_per_epoch):
                    self._step(batch)
                    if self._due(self.config.evaluate.every):
                        self._evaluate()
                    ended = self.batches_done == self.total_updates or self._patience_is_over()
                    if ended or stopped() or self._due(self.config.checkpoint.every):
                        self._save()
                    if stopped() and not ended:
                        raise Interrupted(stopped(), f"Stopped after update {self.updates}; the same command goes on.")
                    if ended:
                        break

    def _step(self, batch: Batch) -> None:
        began = time.perf_counter()
        parts = self.parts_passed
        loss = self.seams.gradient(batch.to(self.accelerator.device))
        self.seams.update()
        self.batches_done += 1
        seconds = time.perf_counter() - began
        self.seconds += seconds
        self.report.update(
            update=self.batches_done,
            epoch=round(self.batches_done / self.updates_per_epoch, 6),
            loss=self._over_ranks(loss.composed),
            cross_entropy=self._over_ranks(loss.cross_entropy),
            learning_rate=max(self.base_rates) * self.factor,
            grad_norm=self.grad_norm,
            examples=len(batch),
            parts=self.parts_passed - parts,
            seconds=seconds,
        )

    def _over_ranks(self, share: Any) -> Any:
        return self.accelerator.reduce(share) if self.accelerator.num_processes > 1 else share

    def _due(self, every: float) -> bool:
        """Whether a multiple of so many epochs has just been reached; the end of training always is one."""
        times = round(self.batches_done / (every * self.updates_per_epoch))
        reached = times > 0 and round(times * every * self.updates_per_epoch) == self.batches_done
        return reached or self.batches_done == self.total_updates

    def _patience_is_over(self) -> bool:
        patience = self.config.evaluate.early_stopping
        return patience is not None and self.since_best >= patience

    def _evaluate(self) -> None:
        with self.seams.weights():
            metrics = measure(self.predictions(self.validation))
            name = self.config.evaluate.metric
            if self.best is None or better(name, metrics[name], self.best["metrics"][name]):
                self.best, self.since_best = {"update": self.batches_done, "metrics": metrics}, 0
                if self.accelerator.is_main_process:
                    self.checkpoints.save_best(self.bare_model.state_dict())
            else:
                self.since_best += 1
        self.report.evaluation(update=self.batches_done, split="validation", **metrics)

    # Predicting.

    def predictions(self, dataset: Encoded) -> Predictions:
        """Predict a split with the weights that the model has now; rows come back in the data's order."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        device, batch_size = self.accelerator.device, 2 * self.config.train.batch_size
        probabilities, decisions = predict_split(self, dataset, device, batch_size, rank, processes)
        if processes > 1:  # every row is zero but on the process that predicted it
            for values in (probabilities, decisions):
                whole = self.accelerator.reduce(torch.from_numpy(values).to(self.accelerator.device))
                values[:] = whole.cpu().numpy()
        labels, splits = dataset.examples["label"], self.splits
        return Predictions(dataset.ids, labels, probabilities, decisions, splits.classes, splits.multi_label)

    # Stopping and going on.

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next update depends on: tensors and JSON values by name."""
        tensors = {f"model.{name}": tensor for name, tensor in self.bare_model.state_dict().items()}
        optimizer = checkpoint.flatten_optimizer(self.optimizer)
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.items()}
        counters = {name: getattr(self, name) for name in COUNTERS}
        scaler = self.accelerator.scaler
        states: dict[str, Any] = {name: trick.state() for name, trick in self.tricks.items()}
        for trick, state in states.items():
            tensors |= {f"trick.{trick}.{name}": each for name, each in state.items() if isinstance(each, Tensor)}
            states[trick] = {name: each for name, each in state.items() if not isinstance(each, Tensor)}
        return tensors, {**counters, "scaler": scaler and scaler.state_dict(), "tricks": states}

    def load(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self.bare_model.load_state_dict(checkpoint.inside(tensors, "model."))
        checkpoint.restore_optimizer(self.optimizer, checkpoint.inside(tensors, "optimizer."))
        for name in COUNTERS:
            setattr(self, name, counters[name])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(counters["scaler"])
        for name, trick in self.tricks.items():
            trick.load({**counters["tricks"][name], **checkpoint.inside(tensors, f"trick.{name}.")})

    def _save(self) -> None:
        self.report.flush()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.batches_done, *self.state())

    def _resume(self) -> None:
        tensors, counters, notes = self.checkpoints.newest()
        self.notes += notes
        if tensors is not None:
            self.load(tensors, counters)
            self.note(f"going on after update {self.updates}.")
        if self.accelerator.is_main_process:
            self.history.cut(self.batches_done)
        self.accelerator.wait_for_everyone()
