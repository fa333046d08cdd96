"""The Python interface: `finetune`, `load` and `diagnose`. The command line calls it too.

Calls from more than one thread wait for each other. A call leaves the random states, the signal handlers and the state
of Hydra and accelerate as they were.
"""

import os
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig

from recipes import seams
from recipes.compose.calls import write_overrides
from recipes.compose.loader import describe_sets
from recipes.compose.measured import find_settled, settle_measured
from recipes.compose.metrics import scoring_by
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.trust import trusting
from recipes.config import Config, as_values
from recipes.data.frames import Rows
from recipes.data.inputs import identify_inputs
from recipes.data.paths import check_files
from recipes.errors import UserError
from recipes.reports.results import show_scores
from recipes.reports.start import describe_start
from recipes.runs import manifest
from recipes.runs.claim import CheckpointsRemoved, claim, has_results
from recipes.runs.files import atomic_write
from recipes.runs.folder import RunFolder, finished_run, is_finished
from recipes.runtime.distributed import connect, is_first, preserved_accelerate, say, wait_for_all
from recipes.runtime.program import name_command

# Late imports in this module: a finished run is opened, and a mistake answered, without torch, which takes seconds.
if TYPE_CHECKING:
    from recipes.doctor.diagnosis import Diagnosis
    from recipes.prediction.predictors import AnyPredictor
    from recipes.reports.texts import TextPredictions
    from recipes.trick import Trick

# Torch's random state, Hydra and accelerate belong to the process, so one call at a time uses them.
_one_call = threading.RLock()


@contextmanager
def independent_call() -> Iterator[None]:
    """Inside this context no other call is at work, and Hydra's config is restored on exit."""
    with _one_call:
        before = HydraConfig.instance().cfg
        try:
            yield
        finally:
            HydraConfig.instance().cfg = before


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
        from recipes.runtime.randomness import preserved_randomness

        with trusting(self.trusted), in_precision(self.precision), preserved_randomness():
            return load_predictor(self)

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> "TextPredictions":
        """Predict texts, or pairs of texts, with the saved model; rows keep the order given.

        Args:
            texts: a list, or a column of a frame.
            pairs: the second text of each pair.

        Returns:
            The predictions: `.names()`, `.probabilities`, `.to_frame()`.

        Raises:
            UserError: a text has no pair though the run was trained on pairs, or the other way round; or something is
                no text, or no column of texts.

        Example:
            recipes.load("runs/mine").predict(["a text", "another one"]).names()
        """
        from recipes.prediction.precision import in_precision
        from recipes.prediction.predictors import as_column, check_arguments
        from recipes.reports.texts import with_texts

        texts = as_column(texts, "texts")
        pairs = None if pairs is None else as_column(pairs, "pairs")
        check_arguments(self, texts, pairs)
        # A fused run loads its members while it predicts.
        with trusting(self.trusted), in_precision(self.precision):
            predictions = self.predictor.predict(texts, pairs, [str(number) for number in range(len(texts))])
        return with_texts(predictions, texts, pairs)

    @cached_property
    def page(self) -> Path:
        """The page of the run with its scores, curves and examples, `report.html` in its folder; written when asked."""
        from recipes.reports.run_page import page

        target = self.folder / "report.html"
        with atomic_write(target) as draft:
            draft.write_text(page([self]), encoding="utf-8")
        return target

    def show(self) -> None:
        """Show the page: inside a notebook, or in the browser."""
        from recipes.reports.notebook import show_page

        show_page(self.page)

    def _repr_html_(self) -> str:
        from recipes.reports.notebook import run_html

        return run_html(self)

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


def finetune(
    overrides: Sequence[str] = (),
    trusted: Sequence[str] = (),
    *,
    train: Rows | str | Path | None = None,
    validation: Rows | str | Path | None = None,
    test: Rows | str | Path | None = None,
    extra: Mapping[str, Rows | str | Path] | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | Sequence[str] | None = None,
    tricks: str | Sequence[str] | Mapping[str, Mapping[str, Any] | None] = (),
    **settings: Any,
) -> FinishedRun:
    """Fine-tune as `python train.py <overrides>` does, or return the finished run of the same config and data.

    Args:
        overrides: as on the command line: `["+tricks=[mixup,amp]", "train.epochs=1"]`.
        trusted: names of further classes that may be imported, such as `my_tricks.Cutoff`.
        train: the training rows: a frame, a `datasets.Dataset`, a dict of lists, a list of dicts or of (text, label),
            or a tuple of columns, `(texts, labels)`; or the path of a file. A `DatasetDict` has all splits.
        validation: the same, to choose the weights by; cut from the training rows where there is none.
        test: the same, to report on.
        extra: more of them to score at the end, by name.
        text: the column with the text.
        text_pair: the column with the second text of a pair.
        label: the column with the label, or with a list of them; or a list of columns of 0 and 1.
        tricks: their names, or their settings by name: `{"mixup": {"alpha": 0.2}}`.
        **settings: any other setting by its name, such as `model="tiny"`, `epochs=1`, `seed=3`, `folder="runs/mine"`;
            or by its path with two underscores for each dot, such as `checkpoint__every=0.5`.

    Returns:
        The finished run: `.metrics`, `.history`, `.folder`, `.predict(texts)`, `.show()`.

    Raises:
        UserError: something in the overrides, the values or the data is wrong.
        KeyboardInterrupt: it was stopped; the same call goes on.

    Example:
        df = pandas.read_csv("reviews.csv")
        run = recipes.finetune(train=df, text="review", label="stars", tricks=["mixup"], epochs=2)
    """
    rows = {"train": train, "validation": validation, "test": test}
    columns = {"text": text, "text_pair": text_pair, "label": label}
    with independent_call():
        lines = write_overrides(overrides, {"tricks": tricks, **settings}, rows, extra, columns)
        composed, folder = compose_config(lines)
        composed.trusted = [*composed.trusted, *trusted]
        return finetune_config(read(composed), folder)


def diagnose(
    subject: RunFolder | str | Path | Sequence[str] = (),
    trusted: Sequence[str] = (),
    *,
    train: Rows | str | Path | None = None,
    validation: Rows | str | Path | None = None,
    test: Rows | str | Path | None = None,
    extra: Mapping[str, Rows | str | Path] | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | Sequence[str] | None = None,
    tricks: str | Sequence[str] | Mapping[str, Mapping[str, Any] | None] = (),
    cheap: bool = False,
    **settings: Any,
) -> "Diagnosis":
    """Check a run before it is trained, as `scripts/doctor.py` does, or a finished run.

    Args:
        subject: a finished run or its folder; or overrides, as on the command line.
        trusted: names of further classes that may be imported.
        train: the training rows, as for `finetune`.
        validation: the same, to choose the weights by.
        test: the same, to report on.
        extra: more of them, by name.
        text: the column with the text.
        text_pair: the column with the second text of a pair.
        label: the column with the label, or with a list of them; or a list of columns of 0 and 1.
        tricks: their names, or their settings by name.
        cheap: only the checks that every start of a run makes.
        **settings: any other setting, as for `finetune`.

    Returns:
        What was found: `.findings`, `.is_clean`, `.to_frame()`; of a finished run also `.health`.

    Raises:
        UserError: the settings cannot be composed, or the folder holds no finished run.

    Example:
        recipes.diagnose(train=df, text="review", label="stars", model="tiny").findings
        recipes.diagnose(run).headline
    """
    rows = {"train": train, "validation": validation, "test": test}
    columns = {"text": text, "text_pair": text_pair, "label": label}
    of_run = isinstance(subject, RunFolder | str | Path)
    is_named = any(each is not None for each in (*rows.values(), *columns.values()))
    if of_run and (is_named or tricks or settings or extra):
        raise UserError("diagnose: a finished run has its own data and settings; give the run alone, or no run.")
    with independent_call():
        if isinstance(subject, RunFolder | str | Path):
            from recipes.doctor.diagnosis import Diagnosis
            from recipes.doctor.runner import examine_finished

            folder = subject.folder if isinstance(subject, RunFolder) else Path(subject)
            with trusting(trusted):
                return Diagnosis(*examine_finished(folder))
        lines = write_overrides(subject, {"tricks": tricks, **settings}, rows, extra, columns)
        read(compose_config(lines)[0])  # a mistake is answered before torch is loaded
        from recipes.doctor.diagnosis import Diagnosis
        from recipes.doctor.runner import examine

        with trusting(trusted):
            return Diagnosis(examine(lines, cheap))


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
    from recipes.runtime.randomness import preserved_randomness

    with preserved_randomness(), preserved_accelerate():
        if tricks is None:
            tricks = build(config.tricks)
        splits = read_splits(config.data, config.evaluate.extra, config.evaluate.test)
        procedure = seams.compose("train", pipeline.train, tricks, None)
        procedure(config, replace(splits, notes=[*splits.notes, *describe_sets(tricks), *notes]), folder)


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
