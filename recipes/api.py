"""The Python interface: `finetune(overrides)` and `load(folder)`. The command line calls it too."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from recipes import seams
from recipes.compose.measured import find_settled, settle_measured
from recipes.compose.metrics import scoring_by
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.trust import trusting
from recipes.config import Config, as_values
from recipes.data.inputs import identify_inputs
from recipes.data.paths import check_files
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.reports.results import show_scores
from recipes.reports.start import describe_start
from recipes.runs import manifest
from recipes.runs.claim import CheckpointsRemoved, claim, has_results
from recipes.runs.folder import RunFolder, finished_run, is_finished
from recipes.runtime.distributed import connect, is_first, say, wait_for_all
from recipes.runtime.program import name_command

# Late imports in this module: a finished run is opened, and a mistake answered, without torch, which takes seconds.
if TYPE_CHECKING:
    from recipes.prediction.predictors import AnyPredictor
    from recipes.trick import Trick


@dataclass
class FinishedRun(RunFolder):
    """A finished run: its results, and its model to predict with."""

    trusted: Sequence[str] = ()
    """Further classes that its config may name."""
    precision: str = "auto"
    """That it predicts in: one of `recipes.prediction.precision.PRECISIONS`."""

    @cached_property
    def predictor(self) -> "AnyPredictor":
        """Its model and tokenizer; loading them takes seconds, so they stay in memory."""
        from recipes.prediction.precision import in_precision
        from recipes.prediction.predictors import load_predictor

        with trusting(self.trusted), in_precision(self.precision):
            return load_predictor(self)

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Predictions:
        """Predict texts, or pairs of texts, with the saved model; rows keep the order given.

        Raises:
            UserError: a text has no pair though the run was trained on pairs, or the other way round.
        """
        from recipes.prediction.precision import in_precision
        from recipes.prediction.predictors import check_arguments

        check_arguments(self, texts, pairs)
        # A fused run loads its members while it predicts.
        with trusting(self.trusted), in_precision(self.precision):
            return self.predictor.predict(texts, pairs, [str(number) for number in range(len(texts))])

    def export_onnx(self, folder: str | Path | None = None) -> Path:
        """Export to ONNX, into a new folder or `onnx/` of the run, and return the folder (docs/export.md).

        Raises:
            UserError: the run cannot be exported, or the exported model does not agree with `predict`.
        """
        from recipes.export.onnx import export_onnx

        with trusting(self.trusted):
            return export_onnx(self, None if folder is None else Path(folder))[0]

    def push_to_hub(self, repository: str, private: bool = False, license: str | None = None) -> None:
        """Upload the model, its card and its settings to `owner/name` on the Hugging Face hub, without any texts.

        Raises:
            UserError: there is no account or network, the hub refuses, or transformers cannot load such a model.
        """
        from recipes.export.hub import Publication, publish

        publish(self, Publication(repository, private, license))


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
    say(describe_start(config, folder))
    with trusting(config.trusted), scoring_by(vars(config.evaluate)):
        settled, tricks = find_settled(config, folder), None
        if settled is None:
            # Of a run that has begun, its claim says more about a file that is gone.
            if not has_results(folder):
                check_files(config)
            from recipes.compose.tricks import build

            tricks = build(config.tricks)
            settled = settle_measured(config, tricks, folder)
        config, notes = settled
        with claim_once(folder, config):
            if is_finished(folder):
                manifest.remove_unneeded(folder)
                manifest.check(folder)
                if RunFolder(folder).has_model or not config.checkpoint.save_model:
                    say(f"{folder} is finished already; resume=false starts over.")
                    show_scores(RunFolder(folder))
                    return FinishedRun(folder, tuple(config.trusted))
                wait_for_all()  # every process must have seen the manifest
                if is_first():
                    manifest.remove(folder)
                notes.append("the run was finished without its model; it is trained again, to the same scores.")
            _run_pipeline(config, tricks, folder, notes)
    return FinishedRun(folder, tuple(config.trusted))


def _run_pipeline(config: Config, tricks: "Mapping[str, Trick] | None", folder: Path, notes: list[str]) -> None:
    """Read the data and train, in a claimed folder; None: the tricks have not been built yet."""
    from recipes import pipeline
    from recipes.compose.tricks import build
    from recipes.data.splits import read_splits

    if tricks is None:
        tricks = build(config.tricks)
    splits = read_splits(config.data, config.evaluate.extra, config.evaluate.test)
    procedure = seams.compose("train", pipeline.train, tricks, None)
    procedure(config, replace(splits, notes=[*splits.notes, *notes]), folder)


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
        from recipes.compose.remedies import remedies_for

        others = " or ".join(remedies_for("removed_checkpoints", config.tricks, folder=folder))
        raise UserError(f"{error} Or start a new run from its weights: {others}.") from error


def _command_to_start_over(folder: Path) -> str:
    """The command that starts the run in this folder over, also if it is one of a sweep or was started from Python."""
    lines = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    others = [line for line in lines if not line.startswith("resume=")]
    return f"{name_command('train')} {shlex.join([*others, f'hydra.run.dir={folder}', 'resume=false'])}"


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
    finished = finished_run(folder)
    from recipes.prediction.precision import in_precision

    with in_precision(precision):
        return FinishedRun(finished.folder, trusted, precision)
