"""From a trained model to a finished run: which weights, which splits, which files are saved with the model."""

import csv
import errno
import gc
import json
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recipes import Trick, pipeline
from recipes.api import FinishedRun, finetune_config, load
from recipes.base import Base
from recipes.config import Config
from recipes.data.batch import Batch
from recipes.errors import UserError
from recipes.graphs.parts import Parts
from recipes.loop import TrainingRun
from recipes.reports import model_card, results, run_page
from recipes.runs import checkpoint, manifest
from recipes.runs.folder import FORMAT, is_finished
from recipes.testing import comparable_contents, in_child, saved_files, tiny_config
from tests.recipes.models.test_inputs import small_model, small_tokenizer
from tests.sampling import slow


@dataclass
class Shout(Trick):
    """A trick on `clean` that replaces a letter and records the texts it gets."""

    slots = {"clean": "clean"}
    texts = []  # type: ignore[var-annotated]  # noqa: RUF012

    def clean(self, run: Any, inner: Callable[[str], str], text: str) -> str:
        self.texts.append(text)
        return inner(text).replace("w", "q")


@dataclass
class Favour(Trick):
    """A trick whose state is needed for prediction: it learns a class and raises its probability."""

    slots = {"model": "load", "predict": "vote"}

    def __post_init__(self) -> None:
        self.favour = torch.zeros(3)

    def model(self, run: Any, inner: Callable[[], Any]) -> Any:
        self.favour, self.times = torch.tensor([0.0, 7.0, 0.0]), 2
        return inner()

    def predict(self, run: Any, inner: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        return (inner(batch) + self.favour * self.times) / 15

    def state(self) -> dict[str, Any]:
        return {"favour": self.favour, "times": self.times}

    def load(self, state: Mapping[str, Any]) -> None:
        self.favour, self.times = state["favour"], state["times"]


@dataclass
class Zeroed(Trick):
    """A trick that owns the final weights: it sets those of the head to 0."""

    slots = {"weights": "final"}

    def weights(self, run: Any, inner: Callable[[], AbstractContextManager[bool]]) -> AbstractContextManager[bool]:
        return self.zero_head(run.head)

    @contextmanager
    def zero_head(self, head: torch.nn.Linear) -> Iterator[bool]:
        before = head.weight.detach().clone()
        head.weight.data.zero_()
        try:
            yield True
        finally:
            head.weight.data.copy_(before)


def with_trick(kind: type, *overrides: str) -> Config:
    target = name_of(kind)
    return replace(tiny_config(*overrides), tricks={"own": {"_target_": target}}, trusted=[target])


def name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def finetune_and_inspect(config: Config, folder: Path, inspect_run: Callable[[FinishedRun], Any]) -> Any:
    return in_child(lambda: inspect_run(finetune_config(config, folder)))


@pytest.mark.slow
def test_texts_are_cleaned_in_every_split_and_when_predicting(tmp_path: Path) -> None:
    def inspect_run(run: FinishedRun) -> tuple[int, bool, str]:
        trained = len(Shout.texts)
        tokens = set((run.folder / "model" / "tokenizer.json").read_text())
        load(run.folder, run.trusted).predict(["w1 w2", "w3"])
        return trained, "w" in tokens, " ".join(Shout.texts[trained:])

    rows = 3 * 44  # train, validation and test are one file here
    count, _, predicted = finetune_and_inspect(with_trick(Shout, "train.max_updates=2"), tmp_path / "run", inspect_run)
    assert (count, predicted) == (rows, "w1 w2 w3")


def test_the_model_gets_the_cleaned_text(tmp_path: Path) -> None:
    def inspect_run(run: FinishedRun) -> list[bool]:
        model = load(run.folder, run.trusted)
        first, second = model.predict(["w1 a2 w3"]).probabilities, model.predict(["q1 a2 q3"]).probabilities
        return [bool((first == second).all())]

    assert finetune_and_inspect(with_trick(Shout, "train.max_updates=2"), tmp_path / "with", inspect_run) == [True]
    assert finetune_and_inspect(tiny_config("train.max_updates=2"), tmp_path / "without", inspect_run) == [False]


def test_state_that_prediction_needs_is_saved_with_the_model(tmp_path: Path) -> None:
    def inspect_run(run: FinishedRun) -> tuple[list[str], list[str], list[str]]:
        files = sorted(path.name for path in (run.folder / "model").iterdir())
        names_again: Any = load(run.folder, run.trusted).predict(["a1 b2"] * 3).names()
        return files, run.predictions("test")["prediction"], names_again

    files, names, names_again = finetune_and_inspect(
        with_trick(Favour, "train.max_updates=2"), tmp_path / "run", inspect_run
    )
    assert set(names) == set(names_again) == {"y"}
    assert "tricks.safetensors" in files
    path = tmp_path / "run" / "model" / "tricks.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="tricks.safetensors is damaged"):
        in_child(lambda: load(tmp_path / "run", [name_of(Favour)]).predict(["a"]))


def test_a_run_without_such_tricks_has_no_such_file(tmp_path: Path) -> None:
    def inspect_run(run: FinishedRun) -> list[str]:
        return [path.name for path in (run.folder / "model").iterdir()]

    files = finetune_and_inspect(tiny_config("train.max_updates=2"), tmp_path / "run", inspect_run)
    assert "model.safetensors" in files
    assert "tricks.safetensors" not in files


@pytest.mark.slow
def test_the_owners_weights_are_tested_and_saved(tmp_path: Path) -> None:
    def inspect_run(run: FinishedRun) -> tuple[str, set[str], list[str]]:
        probabilities = load(run.folder, run.trusted).predict(["a1 a2", "b1", "c3"]).probabilities
        return (
            run.metrics["weights"],
            set(run.metrics["candidates"]),
            [f"{deviation:.4f}" for deviation in probabilities.std(0)],
        )

    selected, candidates, spread = finetune_and_inspect(with_trick(Zeroed), tmp_path / "run", inspect_run)
    assert (selected, candidates) == ("averaged", {"last", "best", "averaged"})
    assert spread == ["0.0000"] * 3


@pytest.mark.parametrize(("selected", "rate"), [("best", "0.03"), slow("last", "0.03")])
def test_the_selected_weights_are_saved(selected: str, rate: str, tmp_path: Path) -> None:
    config = tiny_config(f"evaluate.weights={selected}", f"train.learning_rate={rate}", "evaluate.every=0.5", "seed=1")

    def inspect_run(run: FinishedRun) -> dict[str, Any]:
        return run.metrics

    metrics = finetune_and_inspect(config, tmp_path / "run", inspect_run)
    candidates = metrics["candidates"]
    assert metrics["weights"] == selected
    assert candidates["best"]["update"] < 20  # otherwise best and last are the same weights
    assert candidates["best"]["loss"] != candidates["last"]["loss"]
    assert metrics["validation"]["loss"] == pytest.approx(candidates[selected]["loss"])


def test_a_metric_that_ranks_two_classes_needs_both(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "good day,p\nbad day,n\n" * 9)
    (tmp_path / "validation.csv").write_text("text,label\n" + "good,p\n" * 9)
    files = [f"data.{name}={tmp_path}/{name}.csv" for name in ("train", "validation")]
    config = tiny_config("evaluate.metric=roc_auc", "data.test=null", *files)
    with pytest.raises(UserError, match=r"evaluate\.metric=roc_auc ranks rows of two classes, and validation has rows"):
        finetune_config(config, tmp_path / "run")


def test_the_number_of_threads_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recipes.runtime.distributed import on_threads

    count = [3]
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: count.__setitem__(0, number))
    with pytest.raises(ValueError), on_threads(1):
        assert count == [1]
        raise ValueError
    assert count == [3]
    with on_threads(None):
        assert count == [3]


@pytest.mark.slow
def test_a_process_has_one_model_in_memory_at_a_time(tmp_path: Path) -> None:
    """A run refers to itself through its seams. It is freed before the next run starts."""

    def count_models() -> list[int]:
        counts, load = [], Base.model

        def load_and_count(self: Base) -> nn.Module:
            counts.append(sum(isinstance(each, PreTrainedModel) for each in gc.get_objects()))
            return load(self)

        Base.model = load_and_count  # type: ignore[method-assign]
        gc.disable()
        for number in range(3):
            finetune_config(tiny_config(), tmp_path / str(number))
        return counts

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from objects that gc.get_objects() touches
        assert in_child(count_models) == [0, 0, 0]


def test_a_run_is_checked_at_its_start_and_not_when_it_is_resumed(tmp_path: Path) -> None:
    config = tiny_config("doctor=cheap", "train.max_updates=2")

    def stop_and_resume() -> list[str]:
        events, fit = [], pipeline.fit

        def save_and_stop(run: TrainingRun, splits: Any) -> None:
            events.append("stopped")
            run._save()
            raise InterruptedError

        pipeline.check_at_start = lambda run, splits: events.append("checked")
        for fit_or_stop in (save_and_stop, fit):
            pipeline.fit = fit_or_stop
            with suppress(InterruptedError):
                finetune_config(config, tmp_path / "run")
        return events

    assert in_child(stop_and_resume) == ["checked", "stopped"]
    assert (tmp_path / "run" / "metrics.json").exists()


def train_and_die(config: Config, folder: Path, die: Callable[[Callable[[], None]], None]) -> None:
    """Train in a child process that dies where `die` says."""

    def work() -> None:
        die(lambda: os.kill(os.getpid(), signal.SIGKILL))
        finetune_config(config, folder)

    with pytest.raises(ChildProcessError):
        in_child(work)


def die_before(owner: Any, name: str) -> Callable[[Callable[[], None]], None]:
    """Die where a function is called."""
    return lambda kill: setattr(owner, name, lambda *arguments, **options: kill())


@pytest.mark.slow
def test_a_repeated_run_and_a_killed_one_write_the_same_bytes(tmp_path: Path) -> None:
    # The tricks have a state that is saved next to the model, and the texts of the second run are longer.
    config = tiny_config("+tricks=[temperature,threshold]", "model.dropout=0.1")
    once, again, killed = (tmp_path / name for name in ("once", "deeper/again", "killed"))
    in_child(lambda: finetune_config(config, once))
    in_child(lambda: finetune_config(config, again))
    train_and_die(config, killed, die_before(TrainingRun, "_evaluate"))
    train_and_die(config, killed, die_before(manifest, "write"))
    in_child(lambda: finetune_config(config, killed))
    assert "model/tricks.safetensors" in saved_files(once)
    for other in (again, killed):
        assert comparable_contents(other) == comparable_contents(once)
        assert saved_files(other) == saved_files(once)
        assert manifest.read(other).keys() == manifest.read(once).keys()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (pipeline, "_save_model"),
        slow(results, "write_predictions"),
        slow(model_card, "render_card"),
        slow(results, "write_json"),
        slow(manifest, "write"),
    ],
)
def test_a_run_killed_while_it_is_finished_is_not_trained_again(owner: Any, name: str, tmp_path: Path) -> None:
    config = tiny_config("train.max_updates=3")
    train_and_die(config, tmp_path / "run", die_before(owner, name))
    assert not is_finished(tmp_path / "run")

    def finish() -> None:
        TrainingRun._step = None  # type: ignore[method-assign, assignment]
        finetune_config(config, tmp_path / "run")

    in_child(finish)
    assert is_finished(tmp_path / "run") and load(tmp_path / "run").metrics["format"] == FORMAT
    assert not list(tmp_path.rglob(".*.trickbook-draft"))


@pytest.mark.parametrize(("after_finish", "stays"), [("remove", False), slow("keep", True)])
def test_the_checkpoints_of_a_finished_run(after_finish: str, stays: bool, tmp_path: Path) -> None:
    config = tiny_config("train.max_updates=3", f"checkpoint.after_finish={after_finish}")
    in_child(lambda: finetune_config(config, tmp_path / "run"))
    assert (tmp_path / "run" / "checkpoints").exists() == stays


@pytest.mark.slow
def test_a_run_killed_while_its_checkpoints_are_removed(tmp_path: Path) -> None:
    config, folder = tiny_config("train.max_updates=3"), tmp_path / "run"
    train_and_die(config, folder, die_before(shutil, "rmtree"))
    assert is_finished(folder) and (folder / "checkpoints").exists()
    # A look at the run changes nothing; the same command removes the rest.
    assert load(folder).metrics["format"] == FORMAT and (folder / "checkpoints").exists()
    in_child(lambda: finetune_config(config, folder))
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("source", ["tiny", slow("linear")])
@pytest.mark.slow
def test_a_run_without_its_model(source: str, tmp_path: Path) -> None:
    overrides, folder = (f"model={source}", "train.max_updates=3"), tmp_path / "run"
    without = tiny_config(*overrides, "checkpoint.save_model=false")
    in_child(lambda: finetune_config(without, folder))
    assert not (folder / "model").exists() and not (folder / "checkpoints").exists()
    run = load(folder)
    scores = run.metrics["test"]
    with pytest.raises(UserError, match=r"run has no model, .* checkpoint\.save_model=true") as caught:
        run.predict(["w1"])
    assert str(caught.value).count(". ") == 1

    def start_again(config: Config) -> bool:
        return finetune_config(config, folder).has_model

    # The same command shows it, and the one that the message names trains it again.
    assert not in_child(lambda: start_again(without))
    assert in_child(lambda: start_again(tiny_config(*overrides)))
    assert load(folder).metrics["test"] == scores and len(load(folder).predict(["w1"]).ids) == 1
    assert in_child(lambda: start_again(without)), "a model that is there stays"


@pytest.mark.slow
def test_a_short_run_writes_no_checkpoint_and_no_weights_that_nobody_reads(tmp_path: Path) -> None:
    def list_written(*overrides: str) -> list[str]:
        names: list[str] = []
        checkpoint.write = lambda path, *contents: names.append(path.stem)
        finetune_config(tiny_config("checkpoint.every=0.5", *overrides), Path(tempfile.mkdtemp(dir=tmp_path)))
        return names

    # 20 updates, an evaluation after every 9, a checkpoint every 3.
    seldom = "checkpoint.min_seconds=3600"
    assert in_child(lambda: list_written(seldom, "evaluate.weights=last")) == []
    assert in_child(lambda: list_written("evaluate.weights=last"))[-1] == "00000020"
    assert set(in_child(lambda: list_written(seldom, "evaluate.every=6"))) == set()
    files = in_child(lambda: list_written(seldom, "evaluate.every=6", "checkpoint.after_finish=keep"))
    assert files == ["best", "00000020"]


@pytest.mark.parametrize(("tricks", "count"), [((), 3), slow(("+tricks=[ema]",), 5)])
def test_the_last_weights_predict_validation_once(tricks: tuple[str, ...], count: int, tmp_path: Path) -> None:
    """After 9, 18 and 20 updates. The average predicts once more at the end, and so do the last weights without it."""

    def count_predictions() -> int:
        calls, predict = [0], TrainingRun.predictions

        def predict_and_count(run: TrainingRun, dataset: Any) -> Any:
            calls[0] += dataset is run.validation
            return predict(run, dataset)

        TrainingRun.predictions = predict_and_count  # type: ignore[method-assign]
        finetune_config(tiny_config("evaluate.weights=last", "evaluate.test=false", *tricks), tmp_path / "run")
        return calls[0]

    assert in_child(count_predictions) == count


@pytest.mark.slow
def test_an_ensemble_without_its_models(tmp_path: Path) -> None:
    overrides = ("+tricks=[fusion]", "tricks.fusion.folds=2", "train.max_updates=2", "checkpoint.save_model=false")
    in_child(lambda: finetune_config(tiny_config(*overrides), tmp_path / "run"))
    assert not (tmp_path / "run" / "members").exists() and not (tmp_path / "run" / "model").exists()
    assert load(tmp_path / "run").predictions("out_of_fold")
    with pytest.raises(UserError, match="has no model"):
        load(tmp_path / "run").predict(["w1"])


def test_a_run_is_not_finished_without_its_best_weights(tmp_path: Path) -> None:
    """Killed after its last update, it has no evaluation left from which they could be selected again."""
    # Without learning all scores are equal, and the first is the best.
    config = tiny_config("train.max_updates=4", "train.learning_rate=0", "evaluate.every=0.5")
    train_and_die(config, tmp_path, die_before(pipeline, "_save_model"))
    best = tmp_path / "checkpoints" / "best.safetensors"
    best.write_bytes(best.read_bytes()[:-1])
    with pytest.raises(AssertionError, match=r"best\.safetensors is damaged or missing; start over with resume=false"):
        in_child(lambda: finetune_config(config, tmp_path))
    assert not is_finished(tmp_path)


def fill_disk(owner: Any, name: str, error: Exception) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    setattr(owner, name, fail)


NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name", "error", "file"),
    [
        (PreTrainedModel, "save_pretrained", SafetensorError(f"I/O error: {NO_SPACE.strerror}"), "model"),
        slow(PreTrainedTokenizerBase, "save_pretrained", NO_SPACE, "model"),
        slow(csv, "writer", NO_SPACE, "validation.csv"),
        (checkpoint, "save_file", SafetensorError(f"I/O error: {NO_SPACE.strerror}"), "best.safetensors"),
    ],
)
def test_a_full_disk_is_a_user_error_and_the_next_start_goes_on(
    owner: Any, name: str, error: Exception, file: str, tmp_path: Path
) -> None:
    config, folder = tiny_config("train.max_updates=2"), tmp_path / "run"

    def work() -> str:
        fill_disk(owner, name, error)
        with pytest.raises(UserError) as caught:
            finetune_config(config, folder)
        return str(caught.value)

    message = in_child(work)
    assert f"{file}: " in message
    assert "No space left on device. Free some space and start the same command again; what was saved" in message
    assert not is_finished(folder) and not list(folder.rglob(".*.trickbook-draft"))
    in_child(lambda: finetune_config(config, folder))
    assert is_finished(folder)


def test_validation_is_scored_after_tricks_are_fitted_on_it(tmp_path: Path) -> None:
    """A temperature that is fitted on validation makes the validation loss of the same weights smaller."""
    config = tiny_config("+tricks=[temperature]", "train.learning_rate=0.03", "evaluate.weights=last")
    metrics = finetune_and_inspect(config, tmp_path / "run", lambda run: run.metrics)
    assert metrics["validation"]["loss"] < metrics["candidates"]["last"]["loss"] - 1e-4
    assert metrics["validation"]["accuracy"] == metrics["candidates"]["last"]["accuracy"]


def test_passes_per_update_are_counted_by_rows() -> None:
    """Two updates of 8 and 4 rows, each row passed twice; the optimizer has two numbers for each trained weight."""
    frozen, trained = (torch.nn.Parameter(torch.zeros(2**18), requires_grad=each) for each in (False, True))
    moments = {"exp_avg": torch.zeros(2**18), "exp_avg_sq": torch.zeros(2**18), "step": torch.zeros(())}
    run: Any = SimpleNamespace(
        parameters=[frozen, trained],
        optimizer=SimpleNamespace(state={trained: moments}),
        accelerator=SimpleNamespace(num_processes=1, device=torch.device("cpu")),
        rows_passed=24.0,
        seconds=4.0,
        updates=2,
        graphs=Parts(),
        history=SimpleNamespace(read=lambda: [{"examples": 8}, {"split": "validation"}, {"examples": 4}]),
    )
    memory: Any = SimpleNamespace(cost=lambda device: {"peak_memory_mb": 1.0})
    assert pipeline._cost(run, memory) == {
        "train_seconds": 4.0,
        "examples_per_second": 3.0,
        "peak_memory_mb": 1.0,
        "trained_parameters": 2**18,
        "optimizer_mb": 2.0,
        "passes_per_update": 2.0,
        "graphs": False,
    }


def test_the_saved_tokenizer_truncates_to_the_length_of_training(tmp_path: Path) -> None:
    def read_max_length(run: FinishedRun) -> int:
        settings = json.loads((run.folder / "model" / "tokenizer_config.json").read_text(encoding="utf-8"))
        return int(settings["model_max_length"])

    config = tiny_config("train.max_updates=1", "data.max_length=100000")
    assert 100 < finetune_and_inspect(config, tmp_path / "run", read_max_length) < 100_000


@pytest.mark.slow
def test_a_model_without_a_padding_token_answers_alone_as_in_a_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With positions for 20 tokens only, and a tokenizer that knows nothing of either and pads on the wrong side."""
    small_model("GPT2", pad_token_id=None).save_pretrained(tmp_path / "gpt2")
    small_tokenizer(pad_token=None).save_pretrained(tmp_path / "gpt2")
    options = ["model=hub", f"model.name={tmp_path / 'gpt2'}", "train.max_updates=2", "doctor=cheap"]
    run = finetune_config(tiny_config(*options, longest=30), tmp_path / "run")
    texts = ["a1", "w3 a2 b4 w9 w10 w11", "w3 " * 30]
    together = run.predict(texts).probabilities
    for row, text in enumerate(texts):
        assert together[row] == pytest.approx(run.predict([text]).probabilities[0], abs=1e-6)
    printed = capsys.readouterr().out
    assert "note: the tokenizer's padding token is None; rows are padded with </s>." in printed
    assert "note: the model reads 20 tokens, fewer than data.max_length=128." in printed


WORDS = {"a": "apple", "b": "bee"}


@pytest.mark.parametrize(
    ("overrides", "labels", "expected"),
    [
        (["model=linear"], "a b", ("learned", "majority", "accuracy")),
        slow(["train.max_updates=2"], "a b", (None, "linear", "accuracy")),
        slow(["train.max_updates=2", "data.text_pair=label"], "a b", (None, "linear", "accuracy")),
        (
            ["data.label_separator=+", "evaluate.metric=micro_f1", "train.max_updates=2"],
            "a b a+b",
            (None, "linear", "micro_f1"),
        ),
        slow(
            ["data.label_separator=+", "evaluate.metric=macro_f1", "model=linear"],
            "a b a+b",
            (None, "majority", "macro_f1"),
        ),
        slow(["train.max_updates=2", "evaluate.metric=loss"], "a b", (None, "linear", "loss")),
    ],
)
def test_every_kind_of_run_is_judged(
    overrides: list[str], labels: str, expected: tuple[str | None, str, str], tmp_path: Path
) -> None:
    lines = [
        f"{' '.join(WORDS[name] for name in label.split('+'))} {row},{label}"
        for label in labels.split()
        for row in range(12)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    files = [f"data.{split}={tmp_path}/rows.csv" for split in ("train", "validation", "test")]
    run = in_child(lambda: finetune_config(tiny_config(*files, *overrides), tmp_path / "run"))
    health, (headline, baseline, metric) = run.health, expected
    assert (health["against"]["baseline"], health["against"]["metric"]) == (baseline, metric)
    assert health["against"]["low"] <= health["against"]["difference"] <= health["against"]["high"]
    assert headline in (None, health["headline"])
    score = run.metrics["validation"][metric] - health["baselines"][baseline][metric]
    assert health["against"]["difference"] == pytest.approx(-score if metric == "loss" else score, abs=1e-6)


EARLY_STOP = ("train.learning_rate=0.0", "evaluate.early_stopping=2", "evaluate.every=1")
"""With a learning rate of 0 the first evaluation, after update 6, stays the best one."""


def test_an_early_stop_is_announced_and_stored(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    in_child(lambda: finetune_config(tiny_config(*EARLY_STOP), tmp_path / "run"))
    sentence = "early stop after update 18 of 20: 2 evaluations in a row did not improve accuracy."
    assert capfd.readouterr().out.count(sentence) == 1
    stop = load(tmp_path / "run").metrics["early_stop"]
    assert (stop["update"], stop["planned_updates"], stop["best_update"]) == (18, 20, 6)
    card = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    page = run_page.page([load(tmp_path / "run")])
    for text in (card, page.replace("Early stop", "early stop")):
        assert sentence in text and "the model has collapsed" in text


@pytest.mark.slow
def test_an_early_stop_is_stored_also_if_the_run_is_killed_afterwards(tmp_path: Path) -> None:
    config = tiny_config(*EARLY_STOP)
    in_child(lambda: finetune_config(config, tmp_path / "once"))
    train_and_die(config, tmp_path / "killed", die_before(manifest, "write"))
    in_child(lambda: finetune_config(config, tmp_path / "killed"))
    assert comparable_contents(tmp_path / "killed") == comparable_contents(tmp_path / "once")
    both = run_page.page([load(tmp_path / "once"), load(tmp_path / "killed")])
    assert ">health</th>" in both and both.count(">collapsed</td>") == 2
