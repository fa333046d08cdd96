"""The model card: its content for each kind of run, and the intervals in it."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from recipes.metrics import Predictions, intervals, measure
from recipes.reports.model_card import _base_model, without_folders
from recipes.testing import UNSAVED, finish_once, make_text_file, tiny_config


def card_of(*overrides: str) -> str:
    """Finish a run and return its card."""
    folder: Path = finish_once(tiny_config(*UNSAVED, *overrides))["folder"]
    return (folder / "model" / "README.md").read_text(encoding="utf-8")


def test_the_card_of_a_plain_run(tmp_path: Path) -> None:
    text = card_of()
    front = yaml.safe_load(text.split("---")[1])
    (model,) = front.pop("model-index")
    assert front == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["trickbook"],
        "metrics": ["accuracy", "brier_score", "f1", "matthews_correlation", "precision", "recall", "roc_auc"],
    }
    assert model["name"] == "text.csv: tiny"
    assert [result["dataset"] for result in model["results"]] == [
        {"name": "text.csv", "type": "text.csv", "split": split} for split in ("validation", "test")
    ]
    scores = {each["name"]: each["value"] for each in model["results"][1]["metrics"]}
    assert f"| test | 44 | accuracy | {scores['accuracy']:.4f} |" in text
    assert "# text.csv: tiny\n" in text and str(tmp_path) not in text and "/tmp" not in text
    assert "one of 3 labels: x, y, z" in text and "leaves out" not in text and "longer texts are cut at the end" in text
    assert "because on that split the weights were chosen. All" in text and "| test | 44 | accuracy | 0." in text
    assert "| x | 15 | 15 |" in text and "rest on fewer than 30 validation rows" in text


def test_the_card_is_read_back_by_the_hub_with_any_names(tmp_path: Path) -> None:
    """Quotes, colons, line starts of YAML and Chinese: in the file's name, in labels, and as texts."""
    source = tmp_path / "数据: 'a' #1 [x].csv"
    names = {"x": '- 好: "棒"', "y": "{差}", "z": "n/a # 1"}
    rows = [line.split(",") for line in make_text_file(9).read_text(encoding="utf-8").splitlines()[1:]]
    with source.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerows([["text", "label"], *([f"这家酒店很好 {text}", names[label]] for text, label in rows)])
    files = [f"data.{split}={source}" for split in ("train", "validation", "test")]
    path = tmp_path / "README.md"
    path.write_text(card_of(*files, "train.max_updates=2"), encoding="utf-8")
    card = ModelCard.load(path)
    assert str(card) == path.read_text(encoding="utf-8")
    assert card.data.language == "zh"
    assert card.data.model_name == f"{source.name}: tiny"
    assert {result.dataset_name for result in card.data.eval_results} == {source.name}
    assert {(result.dataset_split, result.metric_type) for result in card.data.eval_results} >= {
        ("test", "accuracy"),
        ("validation", "f1"),
    }
    assert all(0 <= result.metric_value <= 2 for result in card.data.eval_results if result.metric_name != "mcc")


def test_the_model_and_the_data_of_the_hub_are_named(tmp_path: Path) -> None:
    config = tiny_config()
    on_hub = replace(config, model=replace(config.model, source="hub", name="google-bert/bert-base-cased"))
    assert _base_model(on_hub) == "google-bert/bert-base-cased"
    assert _base_model(replace(config, model=replace(config.model, source="e5"))) == "intfloat/multilingual-e5-small"
    assert _base_model(replace(config, model=replace(config.model, source="hub", name=str(tmp_path)))) is None
    assert _base_model(config) is None


@pytest.mark.slow
def test_the_card_lists_what_the_pipeline_leaves_out() -> None:
    text = card_of("+tricks=[normalize,swa,threshold,truncate]")
    assert "The pipeline leaves out normalize, threshold, truncate, so" in text
    assert "truncate decides what is read of longer texts" in text and "head_fraction: 0.251" in text
    assert "_target_" not in text and "because on that split threshold was fitted. All" in text


def test_the_token_limit_is_that_of_the_model() -> None:
    assert "at most 512 tokens" in card_of("data.max_length=100000", "train.max_updates=2")


def test_settings_lose_their_folders(tmp_path: Path) -> None:
    assert without_folders(["runs/x/y", str(tmp_path), 3, "word"]) == ["runs/x/y", tmp_path.name, 3, "word"]


def test_the_card_of_a_linear_model_names_no_pipeline() -> None:
    text = card_of("model=linear")
    assert "library_name" not in text and "pipeline" not in text.split("---")[2] and "learning_rate" not in text
    assert "recipes.load(<run folder>).predict(texts)" in text and "optimistic" not in text


def single_label(labels: list[str | None], predicted: list[int]) -> Predictions:
    decisions = np.eye(2, dtype=np.int8)[predicted]
    return Predictions([str(row) for row in range(len(labels))], labels, decisions * 0.9, decisions, ["x", "y"], False)


def test_the_interval_of_accuracy_is_that_of_the_binomial() -> None:
    predicted = [0] * 160 + [1] * 40
    low, high = intervals(single_label(["x"] * 200, predicted), draws=4000)["accuracy"]
    # 0.8, and 1.96 times the root of 0.8 * 0.2 / 200.
    assert (low, high) == pytest.approx((0.8 - 0.0554, 0.8 + 0.0554), abs=0.006)


def test_the_scores_lie_inside_their_intervals_and_unseen_labels_are_errors() -> None:
    predictions = single_label(["x", "y", "new", None] * 25, [0, 1, 0, 0] * 25)
    bounds, scores = intervals(predictions), measure(predictions)
    assert set(bounds) == {"accuracy", "macro_f1"}
    for name, (low, high) in bounds.items():
        assert low < scores[name] < high
    assert bounds["accuracy"][1] < 0.85


def test_intervals_of_many_labels_a_row() -> None:
    decisions = np.array([[1, 0], [1, 1], [0, 1], [0, 0]] * 20, dtype=np.int8)
    labels = [["x"], ["x"], ["x", "new"], []] * 20
    predictions = Predictions([str(row) for row in range(80)], labels, decisions * 0.9, decisions, ["x", "y"], True)
    bounds, scores = intervals(predictions), measure(predictions)
    assert set(bounds) == {"macro_f1", "micro_f1"}
    for name, (low, high) in bounds.items():
        assert low < scores[name] < high


def test_without_labels_there_are_no_intervals() -> None:
    assert intervals(single_label([None, None], [0, 1])) == {}
