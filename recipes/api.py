"""The Python interface: `finetune(overrides)` and `load(folder)`. The command line calls it too."""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from recipes import seams
from recipes.compose.measured import settle_measured
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.remedies import remedies_for
from recipes.compose.tricks import build
from recipes.compose.trust import trusting
from recipes.config import Config, as_values
from recipes.data.inputs import identify_inputs
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.pipeline import train
from recipes.prediction.precision import in_precision
from recipes.prediction.predictors import AnyPredictor, check_arguments, load_predictor
from recipes.runs import manifest
from recipes.runs.claim import CheckpointsRemoved, claim
from recipes.runs.folder import RunFolder, finished_run, is_finished
from recipes.runtime.distributed import connect, is_first, say, wait_for_all


@dataclass
class FinishedRun(RunFolder):
    """A finished run: its results, and its model to predict with."""

    trusted: Sequence[str] = ()
    """Further classes that its config may name."""
    precision: str = "auto"
    """That it predicts in: one of `recipes.prediction.precision.PRECISIONS`."""

    @cached_property
    def predictor(self) -> AnyPredictor:
        """Its model and tokenizer; loading them takes seconds, so they stay in memory."""
        with trusting(self.trusted), in_precision(self.precision):
            return load_predictor(self)

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Predictions:
        """Predict texts, or pairs of texts, with the saved model; rows keep the order given.

        Raises:
            UserError: a text has no pair though the run was trained on pairs, or the other way round.
        """
        check_arguments(self, texts, pairs)
        # A fused run loads its members while it predicts.
        with trusting(self.trusted), in_precision(self.precision):
            return self.predictor.predict(texts, pairs, [str(number) for number in range(len(texts))])


def finetune(overrides: Sequence[str] = (), trusted: Sequence[str] = ()) -> FinishedRun:
    """Fine-tune as `python train.py <overrides>` does, or return the finished run of the same config.

    Args:
        overrides: as on the command line: `["+tricks=[mixup,amp]", "train.epochs=1"]`.
        trusted: names of further classes that may be imported, such as `my_tricks.Cutoff`.

    Returns:
        The finished run: `.metrics`, `.history`, `.folder`, `.predict(texts)`.

    Raises:
        UserError: something in the overrides, the values or the data is wrong.
    """
    composed, folder = compose_config(overrides)
    composed.trusted = [*composed.trusted, *trusted]
    return finetune_config(read(composed), folder)


def finetune_config(config: Config, folder: Path) -> FinishedRun:
    """Fine-tune from a typed config, into a folder."""
    with trusting(config.trusted):
        tricks = build(config.tricks)
        config, notes = settle_measured(config, tricks, folder)
        with claim_once(folder, config):
            if is_finished(folder):
                manifest.remove_unneeded(folder)
                manifest.check(folder)
                if RunFolder(folder).has_model or not config.checkpoint.save_model:
                    say(f"{folder} is finished already; resume=false starts over.")
                    return FinishedRun(folder, tuple(config.trusted))
                wait_for_all()  # every process must have seen the manifest
                if is_first():
                    manifest.remove(folder)
                notes.append("the run was finished without its model; it is trained again, to the same scores.")
            splits = read_splits(config.data, config.evaluate.extra, config.evaluate.test)
            procedure = seams.compose("train", train, tricks, None)
            procedure(config, replace(splits, notes=[*splits.notes, *notes]), folder)
    return FinishedRun(folder, tuple(config.trusted))


@contextmanager
def claim_once(folder: Path, config: Config) -> Iterator[None]:
    """The folder is one run's own; under torchrun the first process claims it before the others look at it."""
    claim_folder = partial(_claim_or_explain, folder, config)
    if "RANK" not in os.environ:
        with claim_folder():
            yield
        return
    state = connect(config.train.device)
    with claim_folder() if state.is_main_process else nullcontext():
        state.wait_for_everyone()
        yield


@contextmanager
def _claim_or_explain(folder: Path, config: Config) -> Iterator[None]:
    """Claim the folder; where a finished run cannot be trained further, name the other ways."""
    try:
        with claim(folder, as_values(config), identify_inputs(config), _command_to_start_over(folder)):
            yield
    except CheckpointsRemoved as error:
        others = " or ".join(remedies_for("removed_checkpoints", config.tricks, folder=folder))
        raise UserError(f"{error} Or start a new run from its weights: {others}.") from error


def _command_to_start_over(folder: Path) -> str:
    """The command that starts the run in this folder over, also if it is one of a sweep or was started from Python."""
    lines = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    others = [line for line in lines if not line.startswith("resume=")]
    return shlex.join(["python", "train.py", *others, f"hydra.run.dir={folder}", "resume=false"])


def load(folder: str | Path, trusted: Sequence[str] = (), precision: str = "auto") -> FinishedRun:
    """A finished run from its folder.

    Args:
        folder: the run folder. It may be from somebody else: nothing in it is imported or run.
        trusted: names of further classes that its config may name, such as `my_tricks.Cutoff`.
        precision: that it predicts in. auto: on a CPU that of its training, on a GPU fp32. fastest: the one that this
            machine computes fastest, measured once. Or fp32, bf16, fp16.

    Raises:
        UserError: there is none, or there is no such precision.
    """
    with in_precision(precision):
        return FinishedRun(finished_run(folder).folder, trusted, precision)
