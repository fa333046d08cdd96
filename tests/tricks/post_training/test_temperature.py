"""Temperature: the fit against known ones, what is folded, what stays, and that a saved model has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from recipes import load
from recipes.api import finetune_config
from recipes.metrics import Predictions
from recipes.testing import in_child, tiny_config, tiny_run
from tricks.post_training.temperature import compute_logits, fit_temperature

CLASSES = ["x", "y", "z"]


@pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(truth: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(20_000, 3)) * 3
    draw = (softmax(logits / truth, axis=1).cumsum(1) > random.random((20_000, 1))).argmax(1)
    assert fit_temperature(logits, np.eye(3)[draw], 10.0, False) == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("truth", [0.5, 3.0])
def test_multi_label_temperature(truth: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(10_000, 3)) * 3
    draw = (expit(logits / truth) > random.random((10_000, 3))).astype(float)
    assert fit_temperature(logits, draw, 10.0, True) == pytest.approx(truth, rel=0.05)


def test_it_stays_inside_the_limit() -> None:
    logits = np.array([[5.0, 0.0], [5.0, 0.0]])  # always right: no temperature is low enough
    assert fit_temperature(logits, np.eye(2)[[0, 0]], 4.0, False) == pytest.approx(0.25, rel=1e-3)
    assert fit_temperature(logits, np.eye(2)[[1, 1]], 4.0, False) == pytest.approx(4.0, rel=1e-3)


def test_rows_with_unseen_labels_are_left_out() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2]] * 3, dtype=np.float32)
    some = Predictions(["1", "2", "3"], ["y", None, "new"], probabilities, np.zeros((3, 3)), CLASSES, False)
    logits, targets = compute_logits(some)
    assert targets.tolist() == [[0, 1, 0]]
    assert softmax(logits, axis=1) == pytest.approx(probabilities[:1])


def test_multi_label_logits() -> None:
    probabilities = np.array([[0.5, 0.9, 1.0]], dtype=np.float32)
    logits, targets = compute_logits(Predictions(["1"], [["x", "z"]], probabilities, np.zeros((1, 3)), CLASSES, True))
    assert targets.tolist() == [[1, 0, 1]]
    assert logits[0, :2] == pytest.approx([0, np.log(9)], abs=1e-5)
    assert np.isfinite(logits).all()


def with_wrong_labels(work: Callable[[Any], Any], folder: Path) -> Any:
    """A run whose head is far too sure, and what becomes of it."""

    def calibrate() -> Any:
        run = tiny_run(tiny_config("+tricks=[temperature]"), folder)
        run.head.weight.data *= 500
        run.head.bias.data += torch.tensor([3.0, 0.0, -3.0])
        return work(run)

    return in_child(calibrate)


def test_what_is_folded_into_the_head_divides_the_logits(tmp_path: Path) -> None:
    def compared(run: Any) -> tuple[np.ndarray, np.ndarray, float, float]:
        before = run.predictions(run.validation)
        after = run.seams.settle(before)
        report = run.tricks["temperature"].summary
        expected = softmax(compute_logits(before)[0] / report["temperature"], axis=1)
        return expected, after.probabilities, report["temperature"], report["after"]["loss"] - report["before"]["loss"]

    expected, result, value, gained = with_wrong_labels(compared, tmp_path)
    assert value > 2 and gained < 0
    np.testing.assert_allclose(expected, result, atol=1e-5)
    assert result.std(0).max() > 5e-4


@pytest.mark.slow
def test_a_saved_model_has_it_and_answers_the_same(tmp_path: Path) -> None:
    def run() -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        done = finetune_config(tiny_config("+tricks=[temperature]", "train.learning_rate=1e-2"), tmp_path / "run")
        folders = done.predictions("test")
        texts = [line.split(",")[0] for line in Path(done.config["data"]["test"]).read_text().splitlines()[1:]]
        report = np.array([folders["p_x"], folders["p_y"], folders["p_z"]], dtype=float).T
        return done.metrics["calibration"], report, load(tmp_path / "run").predict(texts).probabilities

    report, written, again = in_child(run)
    assert report["temperature"] != 1
    np.testing.assert_allclose(written, again, atol=1e-5)
    assert report["after"]["loss"] <= report["before"]["loss"] + 1e-9
    assert report["after"]["accuracy"] == report["before"]["accuracy"]
