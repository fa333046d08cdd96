"""The metrics of a config: what a function reads, which direction is better, and who may name it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from recipes.api import finetune_config, load
from recipes.compose.metrics import build_metrics, scoring_by
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.trust import trusting
from recipes.config import digest
from recipes.errors import UserError
from recipes.metrics import CustomMetric, Predictions, measure
from recipes.prediction.files import PredictionJob, PredictionRequest
from recipes.testing import in_child, tiny_config

Write = Callable[[str, str | bytes], Path]
FBETA = {"_target_": "sklearn.metrics.fbeta_score", "beta": 2, "average": "macro"}
MODULE = """
import numpy as np

def cost(true, predicted, price=1.0):
    return price * float(np.mean(true != predicted))

def area(y_true, y_score):
    return float(y_score.shape[1] if y_score.ndim > 1 else 1)

def broken(true, predicted):
    raise KeyError("no such thing")

number = 3
"""


@pytest.fixture
def scores(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a user's own metrics; returns its name."""
    name = f"scores_{tmp_path.name}"
    write(f"{name}.py", MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def build_one(**item: Any) -> CustomMetric:
    (metric,) = build_metrics([item])
    assert isinstance(metric, CustomMetric)
    return metric


def test_a_function_of_scikit_learn_is_trusted_and_has_its_settings() -> None:
    metric = build_one(**FBETA)
    assert (metric.name, metric.function, metric.settings) == (
        "fbeta_score",
        sk.fbeta_score,
        {"beta": 2, "average": "macro"},
    )
    assert build_metrics(["kappa", {**FBETA, "name": "f2"}])[0] == "kappa"
    assert build_one(**FBETA, name="f2").name == "f2"


@pytest.mark.parametrize(
    ("function", "reads_probabilities", "greater_is_better"),
    [
        ("fbeta_score", False, True),
        ("top_k_accuracy_score", True, True),
        ("average_precision_score", True, True),
        ("brier_score_loss", True, False),
        ("log_loss", True, False),
        ("hamming_loss", False, False),
        ("mean_absolute_error", False, False),
        ("coverage_error", True, False),
    ],
)
def test_names_tell_what_is_read_and_what_is_better(
    function: str, reads_probabilities: bool, greater_is_better: bool
) -> None:
    metric = build_one(_target_=f"sklearn.metrics.{function}")
    assert (metric.reads_probabilities, metric.greater_is_better) == (reads_probabilities, greater_is_better)
    opposite = build_one(
        _target_=f"sklearn.metrics.{function}",
        input="labels" if reads_probabilities else "probabilities",
        greater_is_better=not greater_is_better,
    )
    assert (opposite.reads_probabilities, opposite.greater_is_better) == (
        not reads_probabilities,
        not greater_is_better,
    )


def test_a_function_of_ones_own_is_trusted_by_name(scores: str) -> None:
    with pytest.raises(UserError, match=f"{scores}.cost is not trusted, so it is not imported"):
        build_one(_target_=f"{scores}.cost")
    with pytest.raises(UserError, match=rf"\(--trusted={scores}.cost for predict, export and judge\)"):
        build_one(_target_=f"{scores}.cost")
    with trusting([f"{scores}.cost", f"{scores}.area"]):
        assert build_one(_target_=f"{scores}.cost", price=2.0).settings == {"price": 2.0}
        assert build_one(_target_=f"{scores}.area").reads_probabilities


def test_every_wrong_item_is_reported(scores: str) -> None:
    items = [
        "kapa",
        3,
        {"name": "x"},
        {"_target_": "sklearn.metrics.no_such"},
        {"_target_": "sklearn.metrics._classification.fbeta_score"},
        {"_target_": "sklearn.datasets.load_files"},
        {"_target_": "os.system"},
        {**FBETA, "name": "a-b"},
        {**FBETA, "name": "accuracy"},
        {**FBETA, "input": "text"},
        {**FBETA, "greater_is_better": "no"},
        FBETA,
        FBETA,
        {"_target_": f"{scores}.number"},
    ]
    with trusting([f"{scores}.number"]), pytest.raises(UserError) as error:
        build_metrics(items)
    expected = [
        "no built-in metric 'kapa'; did you mean kappa",
        "3 is neither a name nor a function with _target_; write evaluate.metrics='[kappa,{_target_:",
        "{'name': 'x'} is neither",
        "sklearn.metrics.no_such cannot be imported",
        "sklearn.metrics._classification.fbeta_score is not trusted",
        "sklearn.datasets.load_files is not trusted",
        "os.system is not trusted",
        "name=a-b must be of letters",
        "name=accuracy must be",
        "input=text of fbeta_score must be labels or probabilities",
        "greater_is_better=no of fbeta_score must be true or false",
        f"{scores}.number cannot be imported",
        "has 'fbeta_score' twice",
    ]
    problems = error.value.problems
    assert len(problems) == len(expected)
    for text, problem in zip(expected, problems, strict=True):
        assert text in problem


def test_what_a_folder_names_and_nobody_trusts_has_a_reason_in_place_of_a_value(scores: str) -> None:
    labels, probabilities = ["a", "b"], np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    answers = Predictions(["0", "1"], labels, probabilities, np.eye(2, dtype=np.int8), labels, False)
    with scoring_by({"metrics": [{"_target_": f"{scores}.cost"}, FBETA]}, of_folder=True):
        assert measure(answers)["fbeta_score"] == 1.0 and "cost" not in measure(answers)


def test_a_metric_on_request_is_computed_where_it_chooses_the_best_checkpoint() -> None:
    labels, probabilities = ["a", "b"], np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    answers = Predictions(["0", "1"], labels, probabilities, np.eye(2, dtype=np.int8), labels, False)
    with scoring_by({"metrics": [], "metric": "balanced_accuracy"}):
        assert measure(answers)["balanced_accuracy"] == 1.0
    assert "balanced_accuracy" not in measure(answers)


def test_the_command_line_takes_names_and_functions() -> None:
    line = "evaluate.metrics=[kappa,{_target_: sklearn.metrics.fbeta_score, beta: 2, average: macro}]"
    composed, folder = compose_config([line])
    config = read(composed)
    assert config.evaluate.metrics == ["kappa", FBETA]
    assert folder.name != compose_config([])[1].name
    with pytest.raises(UserError, match=r"evaluate.metrics must be a list in brackets, such as \[a,b\], got kappa"):
        read(compose_config(["evaluate.metrics=kappa"])[0])


def test_the_digest_of_earlier_configs_stays() -> None:
    assert digest({"evaluate": {"metric": "loss", "metrics": []}}) == digest({"evaluate": {"metric": "loss"}})


class TestRun:
    """A tiny run that is scored by its own functions."""

    def finish(self, tmp_path: Path, scores: str, metric: str, *items: Any, names: tuple[str, ...] = ("cost",)) -> Any:
        config = tiny_config()
        config.evaluate.metric, config.evaluate.metrics = metric, list(items)
        config.trusted = [f"{scores}.{name}" for name in names]
        return finetune_config(config, tmp_path / "run")

    @pytest.mark.slow
    def test_it_chooses_the_best_checkpoint_and_folders_load_without_it(self, tmp_path: Path, scores: str) -> None:
        def check() -> None:
            run = self.finish(
                tmp_path, scores, "cost", {"_target_": f"{scores}.cost", "greater_is_better": False}, FBETA
            )
            history = [line["cost"] for line in run.history if line.get("split") == "validation"]
            assert run.metrics["validation"]["cost"] == min(history)
            assert run.metrics["validation"]["cost"] == pytest.approx(1 - run.metrics["validation"]["accuracy"])
            answers = run.load_predictions("test")
            expected = sk.fbeta_score(answers.labels, answers.names(), beta=2, average="macro")
            assert run.metrics["test"]["fbeta_score"] == pytest.approx(expected)
            assert set(run.metrics["classes"]["test"]) == set(answers.classes)
            assert "unscored" not in run.metrics
            # Nobody trusts the function now.
            assert load(run.folder).predict(["a text"]).names()
            target = tmp_path / "out.csv"
            request = PredictionRequest(str(run.folder), str(run.config["data"]["test"]), str(target), metrics=True)
            summary = PredictionJob(request).run()
            assert summary.metrics is not None and "cost" not in summary.metrics and "fbeta_score" in summary.metrics
            assert any(f"{scores}.cost is not trusted" in note for note in summary.notes)
            target.unlink()
            with trusting([f"{scores}.cost"]):
                again = PredictionJob(request).run()
            assert again.metrics is not None and "cost" in again.metrics

        in_child(check)

    def test_a_broken_one_costs_nothing_but_its_score(self, tmp_path: Path, scores: str) -> None:
        def check() -> None:
            run = self.finish(tmp_path, scores, "accuracy", {"_target_": f"{scores}.broken"}, names=("broken",))
            assert run.has_model and "broken" not in run.metrics["test"]
            sentence = "broken has no value: it raised KeyError ('no such thing')."
            assert run.metrics["unscored"]["test"] == {"broken": sentence}

        in_child(check)

    def test_a_broken_one_cannot_choose(self, tmp_path: Path, scores: str) -> None:
        def check() -> None:
            with pytest.raises(
                UserError, match="evaluate.metric=broken cannot choose the best checkpoint. broken has no"
            ):
                self.finish(tmp_path, scores, "broken", {"_target_": f"{scores}.broken"}, names=("broken",))

        in_child(check)
