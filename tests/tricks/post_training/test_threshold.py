"""Threshold: decisions by hand, the fit where the best thresholds are known, and that a saved model keeps them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes import load
from recipes.api import finetune_config
from recipes.metrics import Predictions, measure
from recipes.runs.checkpoint import read
from recipes.testing import in_child, tiny_config
from tests.sampling import slow
from tricks.post_training.threshold import Threshold, apply_thresholds, fit_thresholds, replace_decisions

CLASSES = ["x", "y", "z"]
HALF = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])


def test_one_label_by_hand() -> None:
    assert apply_thresholds(HALF, np.full(3, 0.5), False).tolist() == [[1, 0, 0], [0, 1, 0]]
    # 0.6 / 0.5 = 1.2, 0.3 / 0.2 = 1.5; then 0.5 / 0.2 = 2.5, 0.3 / 0.1 = 3.
    assert apply_thresholds(HALF, np.array([0.5, 0.2, 0.1]), False).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_multi_label_by_hand() -> None:
    assert apply_thresholds(HALF, np.full(3, 0.5), True).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert apply_thresholds(HALF, np.array([0.7, 0.3, 0.1]), True).tolist() == [[0, 1, 1], [0, 1, 1]]


def test_a_rare_class_gets_its_due() -> None:
    """Of two classes the rare one's probability is 0.3 where it is right, 0.1 elsewhere: 0.5 never answers it."""
    rare = np.array([0.3] * 4 + [0.1] * 36)
    predictions = Predictions(
        [str(row) for row in range(40)],
        ["y"] * 4 + ["x"] * 36,
        np.stack([1 - rare, rare], 1),
        np.eye(2, dtype=np.int8)[np.zeros(40, dtype=int)],
        ["x", "y"],
        False,
    )
    assert measure(predictions)["macro_f1"] < 0.5
    result = fit_thresholds(predictions, 3, 30)
    assert measure(replace_decisions(predictions, result))["macro_f1"] == 1.0


def test_each_label_has_its_own_threshold() -> None:
    probabilities = np.array([[0.9, 0.2], [0.8, 0.25], [0.7, 0.05], [0.6, 0.1]])
    labels = [["x", "y"], ["x", "y"], [], []]
    predictions = Predictions(list("1234"), labels, probabilities, np.zeros((4, 2)), ["x", "y"], True)
    first, second = fit_thresholds(predictions, 2, 30)
    assert 0.7 < first <= 0.8 and 0.1 < second <= 0.2


def test_where_nothing_is_gained_a_half_stays() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    predictions = Predictions(["1", "2"], ["x", "y"], probabilities, np.eye(2, dtype=np.int8), ["x", "y"], False)
    assert fit_thresholds(predictions, 3, 30) == [0.5, 0.5]


def test_probabilities_of_0_do_no_harm() -> None:
    fractions = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    labels = ["x", "y", "z", "y", "y", "z"]
    predictions = Predictions(
        list("123456"), labels, fractions, np.eye(3, dtype=np.int8)[[0, 1, 2, 0, 1, 2]], CLASSES, False
    )
    result = fit_thresholds(predictions, 3, 30)
    assert np.isfinite(result).all()
    assert measure(replace_decisions(predictions, result))["macro_f1"] >= measure(predictions)["macro_f1"]


def test_without_a_fit_the_inner_decision_is_used() -> None:
    trick = Threshold(rounds=3, candidates=30)
    run: Any = None
    assert trick.decide(run, lambda given: given + 1, torch.zeros(2, 2)).tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("multi_label", [False, slow(True)])
@pytest.mark.slow
def test_a_saved_model_keeps_them(multi_label: bool, tmp_path: Path) -> None:
    def run() -> tuple[list[str], list[Any], list[float]]:
        overrides = ["data.label_separator=|", "evaluate.metric=macro_f1"] if multi_label else []
        config = tiny_config("+tricks=[threshold]", "train.learning_rate=3e-3", "train.max_updates=40", *overrides)
        done = finetune_config(config, tmp_path / "run")
        texts = [line.split(",")[0] for line in Path(done.config["data"]["test"]).read_text().splitlines()[1:]]
        again: Any = load(tmp_path / "run")
        result = again.predict(texts).names()
        state = read(done.folder / "model" / "tricks.safetensors")
        assert state is not None
        thresholds = state[1]["threshold"]["thresholds"]
        return (
            done.predictions("test")["prediction"],
            ["|".join(each) if multi_label else each for each in result],
            thresholds,
        )

    written, again, thresholds = in_child(run)
    assert written == again
    assert len(thresholds) == 3 and set(thresholds) != {0.5}
