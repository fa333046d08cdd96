"""The Python interface: `finetune(overrides)` and `load(folder)`. The command line calls it too."""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from recipes import seams
from recipes.compose.measured import settle_measured
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.trust import trusting
from recipes.config import Config, as_values
from recipes.data.inputs import identify_inputs
from recipes.data.paths import check_files
from recipes.metrics import Predictions
from recipes.reports.results import show_scores
from recipes.reports.start import describe_start
from recipes.runs import manifest
from recipes.runs.claim import claim, has_results
from recipes.runs.folder import RunFolder, finished_run, is_finished
from recipes.runtime.distributed import connect, say


@dataclass
class FinishedRun(RunFolder):
    """A finished run: its results, and its model to predict with."""

    trusted: Sequence[str] = ()
    """Further classes that its config may name."""

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Predictions:
        """Predict texts, or pairs of texts, with the saved model; rows keep the order given.

        Raises:
            UserError: a text has no pair though the run was trained on pairs, or the other way round.
        """
        # A finished run is opened, and its scores are read, without torch, which takes seconds.
        from recipes.prediction.predictors import predict

        with trusting(self.trusted):
            return predict(self, texts, pairs)


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
    with trusting(config.trusted):
        # Of a run that has begun, its claim says more about a file that is gone.
        if not has_results(folder):
            check_files(config)
        config, notes = settle_measured(config, folder)
        with claim_once(folder, config):
            if is_finished(folder):
                manifest.check(folder)
                say(f"{folder} is finished already; resume=false starts over.")
                show_scores(RunFolder(folder))
            else:
                _run_pipeline(config, folder, notes)
    return FinishedRun(folder, tuple(config.trusted))


def _run_pipeline(config: Config, folder: Path, notes: list[str]) -> None:
    """Read the data and train, in a claimed folder."""
    # Late: torch, transformers and datasets take seconds, and a mistake or a finished run is answered before.
    from recipes import pipeline
    from recipes.compose.tricks import build
    from recipes.data.splits import read_splits

    tricks = build(config.tricks)
    splits = read_splits(config.data, config.evaluate.extra, config.evaluate.test)
    procedure = seams.compose("train", pipeline.train, tricks, None)
    procedure(config, replace(splits, notes=[*splits.notes, *notes]), folder)


@contextmanager
def claim_once(folder: Path, config: Config) -> Iterator[None]:
    """The folder is one run's own; under torchrun the first process claims it before the others look at it."""
    claim_folder = partial(claim, folder, as_values(config), identify_inputs(config), _command_to_start_over(folder))
    if "RANK" not in os.environ:
        with claim_folder():
            yield
        return
    state = connect(config.train.device)
    with claim_folder() if state.is_main_process else nullcontext():
        state.wait_for_everyone()
        yield


def _command_to_start_over(folder: Path) -> str:
    """The command that starts the run in this folder over, also if it is one of a sweep or was started from Python."""
    lines = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    others = [line for line in lines if not line.startswith("resume=")]
    return shlex.join(["python", "train.py", *others, f"hydra.run.dir={folder}", "resume=false"])


def load(folder: str | Path, trusted: Sequence[str] = ()) -> FinishedRun:
    """A finished run from its folder.

    Args:
        folder: the run folder. It may be from somebody else: nothing in it is imported or run.
        trusted: names of further classes that its config may name, such as `my_tricks.Cutoff`.

    Raises:
        UserError: there is none.
    """
    return FinishedRun(finished_run(folder).folder, trusted)
