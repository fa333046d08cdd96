"""The subject of the checks: a config with its data, its run and its results, each loaded when a check needs it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

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
from recipes.doctor.baselines import compare_with_baselines
from recipes.doctor.findings import Skip
from recipes.doctor.forward import Forward, run_forward
from recipes.doctor.linear_probe import LinearProbe, fit_linear_probe
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.runs.folder import RunFolder, is_finished
from recipes.runtime.randomness import preserved_randomness

T = TypeVar("T")

SAMPLE, CHEAP_SAMPLE = 256, 16
"""Rows that are passed through the model."""


class Subject:
    """A config, with its data and a run that is set up in a temporary folder.

    Args:
        config: the config to check.
        folder: the folder of its run; inspected if it holds a finished run.
        run: an existing run, with its data.
        splits: all of the run's data; required with `run`.
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
        self.config, self.folder, self.sample = config, folder, sample
        self.failed_parts: set[str] = set()
        self.scratch: Path | None = None
        if run is not None:
            # In place of what the cached properties would build.
            self.__dict__ |= {"run": run, "splits": splits}

    @cached_property
    def splits(self) -> Splits:
        """The data as read from the source."""
        return self._build_once(
            "data", lambda: read_splits(self.config.data, self.config.evaluate.extra, self.config.evaluate.test)
        )

    @cached_property
    def run(self) -> TrainingRun:
        """The run, set up but not trained. Checks that train it do so inside `restore_after`."""
        if self.config.model.source == "linear":
            raise Skip("model=linear has no training loop")
        splits = self.splits

        def set_up() -> TrainingRun:
            tricks = build(self.config.tricks)
            check(self.config, splits, tricks)
            self.scratch = Path(tempfile.mkdtemp(prefix="trickbook-doctor-"))
            return TrainingRun(self.config, tricks, splits, self.scratch)

        return self._build_once("run", set_up)

    @cached_property
    def finished_run(self) -> RunFolder:
        """The finished run of the same config."""
        if self.folder is None or not is_finished(self.folder):
            raise Skip("there is no finished run of this config yet")
        return RunFolder(self.folder)

    @cached_property
    def comparison(self) -> Mapping[str, Any]:
        """The finished run against its baselines: `baselines` and `against` of its `health`, or computed."""
        run, config = self.finished_run, self.config
        if health := run.health:
            return {name: health[name] for name in ("baselines", "against")}
        is_linear = config.model.source == "linear" and "ensemble" not in run.metrics
        return compare_with_baselines(
            run.load_predictions("validation"), self.splits, config.evaluate.metric, is_linear
        )

    def _build_once(self, part: str, build_part: Callable[[], T]) -> T:
        """Build a part. The first check that fails to build it reports the error; later ones are skipped."""
        if part in self.failed_parts:
            raise Skip(f"the {part} cannot be set up")
        try:
            return build_part()
        except UserError:
            self.failed_parts.add(part)
            raise

    @cached_property
    def rows_of_splits(self) -> dict[str, Dataset]:
        """The rows of each split, train first, after the tricks; as read from the source if no run can be set up."""
        splits = self.splits
        try:
            run = self.run
        except Skip:
            return {"train": splits.train, "validation": splits.validation, **splits.hidden_splits()}
        hidden = {name: run.clean_rows(rows) for name, rows in splits.hidden_splits().items()}
        return {"train": run.train.examples, "validation": run.validation.examples, **hidden}

    @cached_property
    def original_rows(self) -> Dataset:
        """The training rows without augmented ones."""
        train = self.rows_of_splits["train"]
        ids, sources = (np.array(train[name][:]) for name in ("id", "source"))
        originals = np.flatnonzero(ids == sources)
        return train if len(originals) == len(train) else train.select(originals)

    @cached_property
    def linear_probe(self) -> LinearProbe:
        """The linear probe of the original training rows."""
        if self.splits.multi_label:
            raise Skip("rows have several labels")
        return fit_linear_probe(self.original_rows)

    @cached_property
    def rows(self) -> np.ndarray:
        """Indices of a stratified sample of training rows, with the same number of rows for each label."""
        labels = self.run.train.labels
        classes = labels.argmax(1) if labels.ndim == 2 else labels
        rows_of_class = [np.flatnonzero(classes == number) for number in np.unique(classes[classes >= 0])]
        # With more labels than rows in the sample, only some labels fit.
        rows_of_class = [rows_of_class[index] for index in _even_indices(len(rows_of_class), self.sample)]
        rows_per_class = max(1, self.sample // max(1, len(rows_of_class)))
        return np.sort(np.concatenate([rows[_even_indices(len(rows), rows_per_class)] for rows in rows_of_class]))

    @cached_property
    def forward(self) -> Forward:
        """The untrained model's output for the sample."""
        return run_forward(self.run.bare_model, self.batch(self.rows))

    @cached_property
    def non_finite_weights(self) -> list[str]:
        """The names of the weights that contain NaN or inf."""
        return [name for name, each in self.run.bare_model.named_parameters() if not torch.isfinite(each).all()]

    def require_finite_values(self) -> None:
        """Skip a check whose answer would only repeat that the untrained model gives NaN or inf."""
        if self.non_finite_weights or self.forward.non_finite:
            raise Skip("weights or outputs of the model contain NaN or inf; see finite_values")

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate training rows as the model gets them, on its device."""
        return self.run.train.collate(rows, 0, 0).to(self.run.accelerator.device)

    def decode(self, row: int) -> str:
        """Decode the tokens of a training row as the model sees them."""
        batch = self.run.train.collate(np.array([row]), 0, 0)
        is_token = batch.inputs["attention_mask"][0] == 1
        return str(self.run.tokenizer.decode(batch.inputs["input_ids"][0, is_token]))

    def remedies(self, finding: str, *others: str, otherwise: str = "", **values: object) -> str:
        """Join the remedies for a finding: those of tricks that are not on, then others.

        Args:
            finding: one of `recipes.findings.FINDINGS`.
            *others: further remedies.
            otherwise: the remedy if there is no other.
            **values: the values in braces in the finding's meaning.
        """
        return " or ".join([*remedies_for(finding, self.config.tricks, **values), *others]) or otherwise

    @contextmanager
    def restore_after(self) -> Iterator[TrainingRun]:
        """Allow training inside this context; weights, optimizer, counters and tricks are restored on exit."""
        self.require_finite_values()
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
            run.console.waiting.clear()
            for module, training in modes:
                module.training = training

    @contextmanager
    def preserve_randomness(self) -> Iterator[None]:
        """Restore the random states on exit, and delete the scratch folder."""
        try:
            with preserved_randomness():
                yield
        finally:
            if self.scratch is not None:
                shutil.rmtree(self.scratch, ignore_errors=True)


def _even_indices(count: int, most: int) -> np.ndarray:
    """At most `most` evenly spaced indices of a sequence of `count` items."""
    return np.linspace(0, count - 1, min(most, count)).astype(int)
