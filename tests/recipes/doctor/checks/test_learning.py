"""Checks that train or score: too few updates are skipped, and scores far above chance before training are found."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from recipes.doctor import memorize
from recipes.doctor.checks import learning
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.subject import Subject
from recipes.metrics import Predictions
from recipes.testing import in_child, tiny_config, tiny_run, tiny_splits


def test_overfitting_is_skipped_after_too_few_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (learning, memorize):
        monkeypatch.setattr(module, "SECONDS", 0.05)

    def skip_reason() -> str:
        run = tiny_run(tiny_config("train.learning_rate=0.0"), tmp_path, tmp_path / "run")
        with pytest.raises(Skip) as reason:
            learning.overfitting_one_batch(
                Subject(run.config, run=run, splits=tiny_splits(run.config)), CheckResult("", "", "")
            )
        return str(reason.value)

    assert in_child(skip_reason).startswith("0.05 s are ")


def test_overfitting_is_not_tried_where_a_stage_is_all_of_training() -> None:
    config = tiny_config("+tricks=[contrastive]", "train.learning_rate=0")
    subject: Any = SimpleNamespace(config=config)
    with pytest.raises(Skip, match="no update changes the model"):
        learning.overfitting_one_batch(subject, CheckResult("", "", ""))


def find_high_scores(metric: str, labels: str, predicted: str) -> list[str]:
    """The severities of the metric check, for validation rows with these labels and predictions, one letter each."""
    classes = sorted(set(labels))
    decisions = np.array([[float(letter == name) for name in classes] for letter in predicted])

    def predict(rows: Dataset) -> Predictions:
        chosen = [int(name) for name in rows["id"]]
        scores = decisions[chosen]
        return Predictions(rows["id"], [labels[row] for row in chosen], scores, scores, classes, False)

    run = SimpleNamespace(
        config=SimpleNamespace(evaluate=SimpleNamespace(metric=metric)),
        validation=SimpleNamespace(
            examples=Dataset.from_dict({"id": list(map(str, range(len(labels)))), "label": list(labels)})
        ),
        encode_rows=lambda rows: rows,
        predictions=predict,
    )
    subject: Any = SimpleNamespace(run=run, require_finite_values=lambda: None)
    result = CheckResult("learning", "metric", "")
    learning.metric(subject, result)
    return [finding.severity for finding in result.findings]


def test_a_score_before_training_is_compared_with_chance() -> None:
    labels = "x" * 95 + "y" * 5
    assert find_high_scores("accuracy", labels, "x" * 100) == ["note"]
    assert find_high_scores("accuracy", "xy" * 50, "xy" * 40 + "xx" * 10) == ["warning"]
    assert find_high_scores("macro_f1", "xy" * 50, "xx" * 50) == ["note"]
    assert find_high_scores("loss", "xy" * 50, "yx" * 50) == ["note"]


def test_rows_are_drawn_from_all_of_a_sorted_split() -> None:
    """Half of the labels are predicted: the first 256 rows alone would all be right."""
    assert find_high_scores("accuracy", "x" * 500 + "y" * 500, "x" * 1000) == ["note"]
    assert find_high_scores("accuracy", "x" * 500 + "y" * 500, "x" * 500 + "y" * 500) == ["warning"]


def test_a_label_of_one_row_is_always_drawn() -> None:
    """Without it some metrics are not defined, though they are on all of validation."""
    for seed in range(5):
        rows = learning._sample_with_all_labels(["x"] * 5000 + ["y"], np.random.default_rng(seed))
        assert len(rows) == 256 and rows[-1] == 5000 and (np.diff(rows) > 0).all()
    assert len(learning._sample_with_all_labels(["x", "y", "x"], np.random.default_rng(0))) == 3
