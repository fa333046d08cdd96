"""The folder of a fused run: its predictions, its scores and what starts from it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from recipes.api import FinishedRun, load
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.metrics import measure
from recipes.testing import in_child, tiny_config
from recipes.toolkit.fused_run import disagreement
from tests.recipes.toolkit.fusion_runs import TWO, config, finished, members, refusal


def test_disagreement() -> None:
    assert disagreement(np.array([[3, 0], [0, 3]]), 3, False) == 0
    assert disagreement(np.array([[1, 1]]), 2, False) == 1
    assert disagreement(np.array([[2, 1, 0], [3, 0, 0]]), 3, False) == pytest.approx((2 / 3 + 0) / 2)
    # each class of several labels is an answer: of three runs one says yes to the first, all to the second
    assert disagreement(np.array([[1, 3]]), 3, True) == pytest.approx((2 / 3 + 0) / 2)
    assert disagreement(np.array([[1, 0]]), 1, False) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Three members of two folds, weighed 2, 1 and 1."""
    folder = tmp_path_factory.mktemp("fusion") / "run"
    lines = members("tiny", "linear", "tiny seed=3")
    return finished(
        config(TWO, lines, "tricks.fusion.scheme=given", "tricks.fusion.values=[2,1,1]", "train.max_updates=2"), folder
    )


class TestFusedRun:
    def test_logits_are_averaged(self, run: FinishedRun) -> None:
        splits = read_splits(tiny_config().data, {}, True)
        assert splits.test is not None
        texts = list(splits.test["text"])

        def logits(folder: Path) -> np.ndarray:
            tokenizer = AutoTokenizer.from_pretrained(folder / "model")
            model = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
            with torch.no_grad():
                return np.array([model(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts])

        def expected() -> np.ndarray:
            mean = np.zeros((len(texts), 3))
            for name, weight in (("1-tiny", 0.5), ("2-linear", 0.25), ("3-tiny", 0.25)):
                for fold in ("fold-1", "fold-2"):
                    folder = run.folder / "members" / name / fold
                    if name == "2-linear":
                        each = np.log(FinishedRun(folder).predict(texts).probabilities)
                    else:
                        each = logits(folder)
                    mean += weight / 2 * each
            return softmax(mean, axis=1)

        np.testing.assert_allclose(run.load_predictions("test").probabilities, in_child(expected), atol=2e-6)

    def test_a_row_is_predicted_by_the_run_that_was_not_trained_on_it(self, run: FinishedRun) -> None:
        result = run.load_predictions("out_of_fold")
        assert list(result.ids) == [str(row) for row in range(44)]
        folders = [run.folder / "members" / "1-tiny" / f"fold-{number}" for number in (1, 2)]
        ids = [FinishedRun(folder).load_predictions("validation").ids for folder in folders]
        assert sorted([*ids[0], *ids[1]], key=int) == list(result.ids) and not set(ids[0]) & set(ids[1])
        assert run.metrics["out_of_fold"]["accuracy"] == pytest.approx(measure(result)["accuracy"])

    def test_members_see_no_test_rows(self, run: FinishedRun) -> None:
        for folder in run.folder.glob("members/*/*"):
            assert FinishedRun(folder).splits == ["validation"]

    def test_the_ensemble_and_each_member_are_judged(self, run: FinishedRun) -> None:
        for folder in (run.folder, *run.folder.glob("members/*/fold-*")):
            health = FinishedRun(folder).health
            is_linear = "linear" in str(folder.relative_to(run.folder))
            assert health and health["against"]["baseline"] == ("majority" if is_linear else "linear"), folder

    def test_metrics_describe_the_ensemble(self, run: FinishedRun) -> None:
        metrics = run.metrics
        names = ["1-tiny", "2-linear", "3-tiny"]
        assert list(metrics["candidates"]) == [*names, "fused"] and metrics["weights"] == "fused"
        summary = metrics["ensemble"]
        assert [summary["members"][name]["weight"] for name in names] == [0.5, 0.25, 0.25]
        assert 0 < summary["disagreement"] < 1 and summary["diversity"] > 0
        loss = metrics["validation"]["loss"]
        assert loss == pytest.approx(summary["average_loss"] - summary["diversity"], abs=1e-5)
        own = [FinishedRun(folder).metrics["cost"] for folder in run.folder.glob("members/*/*")]
        assert metrics["cost"]["passes_per_update"] == pytest.approx(sum(cost["passes_per_update"] for cost in own))
        assert metrics["cost"]["train_seconds"] == pytest.approx(sum(cost["train_seconds"] for cost in own), abs=0.01)
        assert json.loads((run.folder / "model" / "ensemble.json").read_text())["classes"] == ["x", "y", "z"]

    def test_the_card_names_no_pipeline(self, run: FinishedRun) -> None:
        card = (run.folder / "model" / "README.md").read_text(encoding="utf-8")
        assert "has no model of its own" in card and "pipeline(" not in card and "library_name" not in card
        assert "| 2-linear | 0.2500 |" in card and "out_of_fold" in card

    @pytest.mark.slow
    def test_it_answers_alone(self, run: FinishedRun) -> None:
        result = load(run.folder).predict(["a1 a2", "b3"])
        assert result.probabilities.sum(1) == pytest.approx(1.0) and result.classes == ["x", "y", "z"]

    def test_nothing_starts_from_it(self, run: FinishedRun, tmp_path: Path) -> None:
        after = config(f"tricks.incremental.folder={run.folder}", tricks="incremental")
        assert "holds an ensemble of several runs, which has no weights of its own" in refusal(after, tmp_path / "run")


@pytest.mark.slow
def test_an_incomplete_folder_is_refused(run: FinishedRun, tmp_path: Path) -> None:
    duplicate = tmp_path / "copied"
    shutil.copytree(run.folder, duplicate)

    def refusal_of_duplicate() -> str:
        with pytest.raises(UserError) as error:
            load(duplicate).predict(["a1"])
        return str(error.value)

    def work() -> tuple[list[Any], list[Any], str, str]:
        names = load(duplicate).predict(["a1"]).names(), run.predict(["a1"]).names()
        shutil.rmtree(duplicate / "members" / "2-linear" / "fold-1")
        incomplete = refusal_of_duplicate()
        (duplicate / "model" / "ensemble.json").write_text("{", encoding="utf-8")
        return *names, incomplete, refusal_of_duplicate()

    copied, original, incomplete, damaged = in_child(work)
    assert copied == original
    assert "2-linear/fold-1 holds no finished run" in incomplete
    assert "ensemble.json is damaged" in damaged
