"""What is examined: a run that is set up, part by part, as the checks ask for it, and left as it was."""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from datasets import Dataset

from recipes import state
from recipes.compose.remedies import remedies_for
from recipes.compose.requirements import check
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.data.batch import Batch
from recipes.data.splits import Splits, read_splits
from recipes.doctor.findings import Skip
from recipes.doctor.forward import Forward, forward_of
from recipes.doctor.linear_probe import LinearProbe, fit_linear_probe
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.runs.folder import RunFolder, is_finished

Made = TypeVar("Made")

SAMPLE, CHEAP_SAMPLE = 256, 16
"""Rows that are passed through the model."""


class Subject:
    """A config, and what it makes: data, then a run that is set up in a folder of its own.

    Args:
        config: what is to be trained.
        folder: where it would be trained; looked at where it holds a finished run.
        run: where there is one already, with its data.
        splits: all of the run's data; needed where there is a run.
        sample: rows that are passed through the model.
    """

    def __init__(
        self,
        config: Config,
        folder: Path | None = None,
        run: TrainingRun | None = None,
        splits: Splits | None = None,
        sample: int = SAMPLE,
    ) -> None:
        """Nothing is read yet."""
        self.config, self.folder, self.sample = config, folder, sample
        self.missing: set[str] = set()
        self.scratch: Path | None = None
        if run is not None:
            self.__dict__ |= {"run": run, "splits": splits}

    @cached_property
    def splits(self) -> Splits:
        """The data as it is read."""
        return self._made(
            "data", lambda: read_splits(self.config.data, self.config.evaluate.extra, self.config.evaluate.test)
        )

    @cached_property
    def run(self) -> TrainingRun:
        """The run, set up and not trained; weights that a check moves it puts back (`kept`)."""
        if self.config.model.source == "linear":
            raise Skip("model=linear has no training loop")
        splits = self.splits

        def made() -> TrainingRun:
            tricks = build(self.config.tricks)
            check(self.config, splits, tricks)
            self.scratch = Path(tempfile.mkdtemp(prefix="trickbook-doctor-"))
            return TrainingRun(self.config, tricks, splits, self.scratch)

        return self._made("run", made)

    @cached_property
    def finished(self) -> RunFolder:
        """The finished run of the same config."""
        if self.folder is None or not is_finished(self.folder):
            raise Skip("there is no finished run of this config yet")
        return RunFolder(self.folder)

    def _made(self, what: str, make: Callable[[], Made]) -> Made:
        """Make a part once; after it has failed, and was told, whoever asks for it is skipped."""
        if what in self.missing:
            raise Skip(f"the {what} cannot be made")
        try:
            return make()
        except UserError:
            self.missing.add(what)
            raise

    @cached_property
    def texts(self) -> dict[str, Dataset]:
        """Every split's rows, by name, as the tricks leave them; as they are read where no run can be made of them."""
        splits = self.splits
        try:
            run = self.run
        except Skip:
            return {"train": splits.train, "validation": splits.validation, **splits.hidden_splits()}
        shut = {name: run.clean_rows(rows) for name, rows in splits.hidden_splits().items()}
        return {"train": run.train.examples, "validation": run.validation.examples, **shut}

    @cached_property
    def originals(self) -> Dataset:
        """The training rows without those that augmentation has added."""
        train = self.texts["train"]
        ids, sources = (np.array(train[name][:]) for name in ("id", "source"))
        own = np.flatnonzero(ids == sources)
        return train if len(own) == len(train) else train.select(own)

    @cached_property
    def linear_probe(self) -> LinearProbe:
        """What words alone know of the labels."""
        if self.splits.multi_label:
            raise Skip("rows have several labels")
        return fit_linear_probe(self.originals)

    @cached_property
    def rows(self) -> np.ndarray:
        """A sample of the training rows: every label that there is room for, and as many rows of each."""
        labels = self.run.train.labels
        classes = labels.argmax(1) if labels.ndim == 2 else labels
        found = [np.flatnonzero(classes == number) for number in np.unique(classes[classes >= 0])]
        found = [found[place] for place in _evenly(len(found), self.sample)]
        share = max(1, self.sample // max(1, len(found)))
        return np.sort(np.concatenate([rows[_evenly(len(rows), share)] for rows in found]))

    @cached_property
    def forward(self) -> Forward:
        """What the model makes of the sample before it is trained."""
        return forward_of(self.run.bare_model, self.batch(self.rows))

    def batch(self, rows: np.ndarray) -> Batch:
        """Some training rows as the model gets them."""
        return self.run.train.collate(rows, 0, 0).to(self.run.accelerator.device)

    def shown(self, row: int) -> str:
        """A training row's input, decoded as the model really sees it."""
        batch = self.run.train.collate(np.array([row]), 0, 0)
        return str(self.run.tokenizer.decode(batch.inputs["input_ids"][0, : int(batch.lengths[0])]))

    def remedies(self, finding: str, *others: str, otherwise: str = "", **values: object) -> str:
        """What to do about a finding: the remedies of the tricks that are not on, then others.

        Args:
            finding: one of `recipes.findings.FINDINGS`.
            *others: what else helps.
            otherwise: what to do where there is nothing of these.
            **values: those that the finding's meaning names.
        """
        return " or ".join([*remedies_for(finding, self.config.tricks, **values), *others]) or otherwise

    @contextmanager
    def kept(self) -> Iterator[TrainingRun]:
        """Inside this context the run may be trained; afterwards weights, counters and tricks are as before."""
        run = self.run
        tensors, counters = state.capture(run)
        tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        modes = [(module, module.training) for module in run.bare_model.modules()]
        rates = [group["lr"] for group in run.optimizer.param_groups]
        try:
            yield run
        finally:
            state.restore(run, tensors, counters)
            for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            run.optimizer.zero_grad()
            run.report.waiting.clear()
            for module, training in modes:
                module.training = training

    @contextmanager
    def preserve_randomness(self) -> Iterator[None]:
        """Inside this context everything may draw; afterwards chance goes on as if nothing had."""
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
            for device, state in enumerate(on_gpu):
                torch.cuda.set_rng_state(state, device)
            if self.scratch is not None:
                shutil.rmtree(self.scratch, ignore_errors=True)


def _evenly(count: int, most: int) -> np.ndarray:
    """At most so many places of a sequence, from its first to its last."""
    return np.linspace(0, count - 1, min(most, count)).astype(int)
