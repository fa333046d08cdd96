"""Weights of the members, their configs and the training of all folds."""

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

import recipes
from recipes.api import FinishedRun, finetune_config
from recipes.compose.tricks import build
from recipes.loop import TrainingRun
from recipes.metrics import measure
from recipes.testing import TINY, comparable_contents, in_child, on_ranks, tiny_config
from recipes.toolkit.fused_run import FusedRun
from tests.recipes.toolkit.fusion_runs import TWO, config, finished, members, refusal
from tests.sampling import slow
from tricks.post_training.fusion import Fusion, check_rows, fit_weights


class TestWeights:
    def log_probabilities(self, *rights: float) -> np.ndarray:
        """Members that give a true class of two this probability, in each of 40 rows."""
        return np.stack([np.tile(np.log([right, 1 - right]), (40, 1)) for right in rights])

    def test_all_to_the_one_that_knows(self) -> None:
        weights = fit_weights(self.log_probabilities(0.5, 0.99, 0.1), np.tile([1.0, 0.0], (40, 1)))
        np.testing.assert_allclose(weights, [0, 1, 0], atol=1e-6)

    def test_nothing_on_a_grid_is_better(self) -> None:
        random = np.random.default_rng(0)
        targets = np.eye(3)[random.integers(0, 3, 200)]
        logits = random.normal(0, 2, (2, 200, 3)) + 1.5 * targets
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        weights = fit_weights(log_probabilities, targets)
        assert weights.min() >= 0 and weights.sum() == pytest.approx(1)

        def loss(first: float) -> float:
            mean = first * log_probabilities[0] + (1 - first) * log_probabilities[1]
            return float(-(np.log(softmax(mean, axis=-1)) * targets).sum(-1).mean())

        assert loss(weights[0]) <= min(map(loss, np.linspace(0, 1, 101))) + 1e-8
        assert 0.1 < weights[0] < 0.9

    @pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0], [2.0, -1.0], [float("nan"), 1.0], [float("inf"), 1.0]])
    def test_given_weights_must_be_valid(self, values: list[float]) -> None:
        with pytest.raises(ValueError, match=r"must be 2 numbers of at least 0, one for each member, not all 0"):
            Fusion(folds=1, members=["tiny", "linear"], scheme="given", values=values)

    def test_values_that_nobody_reads(self) -> None:
        with pytest.raises(ValueError, match=r"are only used with scheme=given"):
            Fusion(folds=1, members=["tiny", "linear"], scheme="equal", values=[1.0, 2.0])


@pytest.mark.slow
def test_thresholds_act_on_the_ensemble_and_calibration_on_each_member(tmp_path: Path) -> None:
    run = finished(config(TWO, tricks="fusion,temperature,threshold"), tmp_path / "run")
    own = FinishedRun(run.folder / "members" / "1-tiny" / "fold-1")
    assert own.metrics["tricks"] == ["temperature"] and "calibration" in own.metrics
    assert "calibration" not in run.metrics
    assert measure(run.load_predictions("validation"))["macro_f1"] >= run.metrics["candidates"]["1-tiny"]["macro_f1"]
    texts = ["a1", "b2", "c3", "w1"]
    log_probabilities = run.predict(texts)
    state = in_child(lambda: _thresholds(run))
    assert len(state) == 3
    assert log_probabilities.names() == ["xyz"[index] for index in (log_probabilities.probabilities / state).argmax(1)]


def _thresholds(run: FinishedRun) -> list[float]:
    from recipes import state

    tricks = {"threshold": build(run.config["tricks"])["threshold"]}
    state.read_tricks(run.folder / "model", tricks)
    return tricks["threshold"].state()["thresholds"]  # type: ignore[no-any-return]


def test_one_member_of_one_fold_is_the_run_itself(tmp_path: Path) -> None:
    alone = finished(config("tricks.fusion.folds=1"), tmp_path / "run")
    assert not (alone.folder / "members").exists() and (alone.folder / "model" / "model.safetensors").exists()


@pytest.mark.slow
def test_stopping_in_a_later_fold_is_invisible(tmp_path: Path) -> None:
    """Law 5, in the middle of a fold and between two."""
    settings = config(TWO)

    def run_killed(folder: Path, fold: int, updates: int) -> None:
        step = TrainingRun._step

        def kill_process(run: TrainingRun, batch: Any) -> None:
            step(run, batch)
            if run.folder.name == f"fold-{fold}" and run.batches_done == updates:
                run.console.flush()
                os.kill(os.getpid(), signal.SIGKILL)

        TrainingRun._step = kill_process  # type: ignore[method-assign, assignment]
        finetune_config(settings, folder)

    finished(settings, tmp_path / "whole")
    for fold, updates in ((1, 7), (2, 1), (2, 8)):
        with pytest.raises(ChildProcessError):
            in_child(partial(run_killed, tmp_path / "killed", fold, updates))
    output = (tmp_path / "killed" / "members" / "1-tiny" / "fold-1" / "metrics.json").stat().st_mtime_ns
    again = finished(settings, tmp_path / "killed")
    assert comparable_contents(tmp_path / "whole") == comparable_contents(again.folder)
    assert (again.folder / "members" / "1-tiny" / "fold-1" / "metrics.json").stat().st_mtime_ns == output


@pytest.mark.slow
def test_two_processes_make_the_same(tmp_path: Path) -> None:
    settings = config(TWO, members("tiny", "linear"), "model.dropout=0.0")
    alone = finished(settings, tmp_path / "alone")
    both = on_ranks(2, partial(finetune_config, settings, tmp_path / "both"))
    np.testing.assert_allclose(
        both.load_predictions("test").probabilities, alone.load_predictions("test").probabilities, atol=1e-4
    )


@pytest.mark.slow
def test_it_uses_the_labels_and_old_data_of_incremental(tmp_path: Path) -> None:
    from recipes.testing import finished_run

    settings = config(TWO, tricks="fusion,incremental")
    settings = replace(settings, tricks={**settings.tricks})
    settings.tricks["incremental"] = {**settings.tricks["incremental"], "folder": str(finished_run())}
    run = finished(settings, tmp_path / "run")
    assert "old_test" in run.splits and "forgetting" in run.metrics


@pytest.mark.slow
def test_all_problems_of_members_are_reported_before_training(tmp_path: Path) -> None:
    message = refusal(config(members("tiny data.text=x", "linnear", "tiny +tricks=[fusion]")), tmp_path / "run")
    assert "tricks.fusion.members: 'tiny data.text=x': data.text cannot be a member's own" in message
    assert "tricks.fusion.members: 'linnear': model=linnear" in message
    assert "a member cannot be a fusion" in message
    assert not (tmp_path / "run" / "members").exists()


@pytest.mark.slow
def test_a_run_that_is_no_member_would_train_nothing(tmp_path: Path) -> None:
    message = refusal(config(members("linear", "minilm")), tmp_path / "run")
    assert "none is of this run's own model (tiny)" in message
    message = refusal(config(members("tiny", "linear +tricks=[swa]")), tmp_path / "other")
    assert "model=linear has no training loop" in message


@pytest.mark.slow
def test_other_rows_are_not_gone_on_with(tmp_path: Path) -> None:
    """A finished fold is that of the rows it was trained on."""
    lines = Path(tiny_config().data.train or "").read_text(encoding="utf-8").splitlines()
    train = tmp_path / "train.csv"
    settings = config(TWO, members("tiny", "linear"), f"data.train={train}")

    def run_killed() -> None:
        def kill_process(*_: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        FusedRun.finish_run = kill_process  # type: ignore[method-assign, assignment]
        finetune_config(settings, tmp_path / "run")

    train.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ChildProcessError):
        in_child(run_killed)
    train.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n", encoding="utf-8")
    message = refusal(settings, tmp_path / "run")
    assert "has changed" in message and "resume=false" in message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        slow("hub model.name=/no/such", "model.name=/no/such"),
        slow("tiny +tricks=[soup] tricks.soup.folders=[/nowhere]", "tricks.soup.folders"),
        slow("tiny +tricks=[incremental] tricks.incremental.folder=/x", "add it to the run itself"),
        slow("tiny +tricks=[threshold]", "acts on the predictions of all members"),
        slow("tiny +tricks=[swa,ema]", "keep one of them"),
        ("tiny it's", "close every quote"),
        slow("tiny --config-name=y", "is about the command"),
        slow("linear +tricks=[swa]", "model=linear has no training loop"),
    ],
)
def test_an_invalid_member_is_named_before_training(line: str, message: str, tmp_path: Path) -> None:
    lines = "[tiny,'" + line.replace("'", "\\'") + "']"
    summary = refusal(config(TWO, f"tricks.fusion.members={lines}"), tmp_path / "run")
    assert f"tricks.fusion.members: {line!r}: " in summary and message in summary, summary
    assert not (tmp_path / "run" / "members").exists()


@pytest.mark.slow
def test_other_runs_on_the_same_data_have_learnt_what_judges_a_fold(tmp_path: Path) -> None:
    other = finished(tiny_config("train.max_updates=2"), tmp_path / "other")
    message = refusal(config(TWO, f"tricks.soup.folders=[{other.folder}]", tricks="fusion,soup"), tmp_path / "run")
    assert "is evaluated on rows that another run on the same data was trained on" in message


@pytest.mark.slow
def test_members_find_tricks_where_the_run_does(tmp_path: Path) -> None:
    start = Path(__file__).parents[3] / "docs" / "third_party"
    line = members("tiny", "tiny +tricks=[cutoff]")

    def run() -> list[str]:
        sys.path.insert(0, str(start))
        overrides = [f"hydra.searchpath=[{start / 'conf'}]", "trusted=[cutoff.Cutoff]", "+tricks=[fusion]", TWO, line]
        further = ["train.max_updates=2", f"hydra.run.dir={tmp_path / 'run'}"]
        result = recipes.finetune([*TINY, *files(), *overrides, *further])
        return FinishedRun(result.folder / "members" / "2-tiny" / "fold-1").metrics["tricks"]  # type: ignore[no-any-return]

    assert in_child(run) == ["cutoff"]


def files() -> list[str]:
    data = tiny_config().data
    return [f"data.{name}={getattr(data, name)}" for name in ("train", "validation", "test")]


@pytest.mark.slow
def test_with_one_fold_the_card_names_the_choices_on_validation(tmp_path: Path) -> None:
    lines = members("tiny", "tiny seed=1")
    run = finished(config("tricks.fusion.folds=1", lines, tricks="fusion,temperature"), tmp_path / "run")
    card = (run.folder / "model" / "README.md").read_text(encoding="utf-8")
    assert "the members' weights were chosen and temperature was fitted" in card


@pytest.mark.parametrize("text", ["", "{", "7"])
def test_damaged_rows_of_a_member_are_refused_by_name(text: str, tmp_path: Path) -> None:
    splits: Any = SimpleNamespace(fingerprint=["a"])
    check_rows(tmp_path, splits)
    check_rows(tmp_path, splits)
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(recipes.UserError, match=r"rows\.json is damaged"):
        check_rows(tmp_path, splits)
