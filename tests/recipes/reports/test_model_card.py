"""The card: what it must say of a run, and the intervals that it gives."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from recipes.api import finetune_config
from recipes.metrics import Predictions, intervals, measure
from recipes.reports.model_card import _public
from recipes.testing import in_child, tiny_config


def card(folder: Path, *overrides: str) -> str:
    def written() -> str:
        run = finetune_config(tiny_config(*overrides), folder / "run")
        return (run.folder / "model" / "README.md").read_text(encoding="utf-8")

    return in_child(written)


def test_a_plain_run(tmp_path: Path) -> None:
    text = card(tmp_path)
    front = yaml.safe_load(text.split("---")[1])
    assert front == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["trickbook"],
    }
    assert "# text.csv: tiny\n" in text and str(tmp_path) not in text and "/tmp" not in text
    assert "one of 3 labels: x, y, z" in text and "leaves out" not in text and "longer texts lose their tail" in text
    assert "By validation the weights were chosen, so" in text and "| test | 44 | accuracy | 0." in text
    assert "| x | 15 | 15 |" in text and "rests on fewer than 30 validation rows" in text


def test_what_the_pipeline_leaves_out_is_said(tmp_path: Path) -> None:
    text = card(tmp_path, "+tricks=[normalize,swa,threshold,truncate]")
    assert "That leaves out normalize, threshold, truncate, so" in text
    assert "truncate says what is read of longer texts" in text and "head_fraction: 0.251" in text
    assert "_target_" not in text and "By validation threshold was fitted, so" in text


def test_the_tokens_are_those_that_the_model_reads(tmp_path: Path) -> None:
    assert "at most 512 tokens" in card(tmp_path, "data.max_length=100000", "train.max_updates=2")


def test_settings_lose_their_folders(tmp_path: Path) -> None:
    assert _public(["runs/x/y", str(tmp_path), 3, "word"]) == ["runs/x/y", tmp_path.name, 3, "word"]


def test_a_linear_model_is_none_of_transformers(tmp_path: Path) -> None:
    text = card(tmp_path, "model=linear")
    assert "library_name" not in text and "pipeline" not in text.split("---")[2] and "learning_rate" not in text
    assert "recipes.load(<run folder>).predict(texts)" in text and "By validation" not in text


def answers(labels: list[str | None], given: list[int]) -> Predictions:
    decisions = np.eye(2, dtype=np.int8)[given]
    return Predictions([str(row) for row in range(len(labels))], labels, decisions * 0.9, decisions, ["x", "y"], False)


def test_the_interval_of_accuracy_is_that_of_the_binomial() -> None:
    right = [0] * 160 + [1] * 40
    low, high = intervals(answers(["x"] * 200, right), draws=4000)["accuracy"]
    # 0.8, and 1.96 times the root of 0.8 * 0.2 / 200.
    assert (low, high) == pytest.approx((0.8 - 0.0554, 0.8 + 0.0554), abs=0.006)


def test_the_scores_lie_inside_and_labels_nobody_knows_count_as_errors() -> None:
    predictions = answers(["x", "y", "new", None] * 25, [0, 1, 0, 0] * 25)
    found, scores = intervals(predictions), measure(predictions)
    assert set(found) == {"accuracy", "macro_f1"}
    for name, (low, high) in found.items():
        assert low < scores[name] < high
    assert found["accuracy"][1] < 0.85


def test_of_several_labels() -> None:
    given = np.array([[1, 0], [1, 1], [0, 1], [0, 0]] * 20, dtype=np.int8)
    labels = [["x"], ["x"], ["x", "new"], []] * 20
    predictions = Predictions([str(row) for row in range(80)], labels, given * 0.9, given, ["x", "y"], True)
    found, scores = intervals(predictions), measure(predictions)
    assert set(found) == {"macro_f1", "micro_f1"}
    for name, (low, high) in found.items():
        assert low < scores[name] < high


def test_without_labels_there_are_none() -> None:
    assert intervals(answers([None, None], [0, 1])) == {}
