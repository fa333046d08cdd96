"""The arithmetic of averaged logits, on small numbers."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax

from recipes.errors import UserError
from recipes.metrics import Predictions, measure
from recipes.prediction import ensemble
from recipes.prediction.ensemble import Ensemble


def predictions(probabilities: np.ndarray, labels: list[object], multi_label: bool = False) -> Predictions:
    probabilities = probabilities.astype(np.float32)
    decisions = probabilities >= 0.5 if multi_label else probabilities == probabilities.max(1, keepdims=True)
    ids = [str(row) for row in range(len(probabilities))]
    return Predictions(ids, labels, probabilities, decisions.astype(np.int8), ["a", "b", "c"], multi_label)


@pytest.fixture
def logits() -> np.ndarray:
    """(member, row, class)."""
    return np.random.default_rng(0).normal(0, 3, (3, 50, 3))


WEIGHTS = np.array([0.5, 0.2, 0.3])


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_ensemble_averages_logits(logits: np.ndarray, multi_label: bool) -> None:
    squash = expit if multi_label else lambda values: softmax(values, axis=-1)
    members = [ensemble.log_probabilities(predictions(squash(each), [None] * 50, multi_label)) for each in logits]
    averaged = ensemble.probabilities(np.tensordot(WEIGHTS, np.stack(members), 1), multi_label)
    expected = squash(np.tensordot(WEIGHTS, logits, 1))
    # A float32 sigmoid near 1 has lost digits of its logit.
    np.testing.assert_allclose(averaged, expected, atol=1e-5 if multi_label else 1e-6)
    assert averaged.dtype == np.float32


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_loss_is_the_average_loss_minus_the_diversity(logits: np.ndarray, multi_label: bool) -> None:
    labels: list[object] = [["a", "c"] if multi_label else "abc"[row % 3] for row in range(50)]
    squash = expit if multi_label else lambda values: softmax(values, axis=-1)
    members = [predictions(squash(values), labels, multi_label) for values in logits]
    logarithms = np.stack([ensemble.log_probabilities(member) for member in members])
    rows, targets = ensemble.labelled_rows(members[0])
    mean = np.tensordot(WEIGHTS, logarithms, 1)
    loss = ensemble.loss(ensemble.normalized(mean), targets)
    average = sum(weight * ensemble.loss(own, targets) for weight, own in zip(WEIGHTS, logarithms, strict=True))
    assert ensemble.diversity(mean) > 0.01
    assert loss == pytest.approx(average - ensemble.diversity(mean), abs=1e-9)
    assert loss == pytest.approx(_measure_loss(mean, labels, multi_label), abs=1e-6)
    assert list(rows) == list(range(50))


def _measure_loss(mean: np.ndarray, labels: list[object], multi_label: bool) -> float:
    return measure(predictions(ensemble.probabilities(mean, multi_label), labels, multi_label))["loss"]


def test_unlabelled_and_unseen_rows_are_left_out() -> None:
    rows, targets = ensemble.labelled_rows(predictions(np.full((4, 3), 1 / 3), ["b", None, "new", "a"]))
    assert rows.tolist() == [0, 3]
    assert targets.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_members_that_agree_have_no_diversity() -> None:
    mean = ensemble.log_probabilities(predictions(np.array([[0.2, 0.3, 0.5]]), ["a"]))
    assert ensemble.diversity(mean) == pytest.approx(0, abs=1e-6)


def test_probabilities_of_0_and_1_have_finite_logarithms() -> None:
    certain = predictions(np.array([[1.0, 0.0, 0.0]]), ["b"])
    assert np.isfinite(ensemble.log_probabilities(certain)).all()
    assert np.isfinite(ensemble.log_probabilities(predictions(np.array([[1.0, 0.0, 0.0]]), [["b"]], True))).all()


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert ensemble.read(tmp_path) is None
    before = Ensemble(["甲", "b"], False, {"members/1-tiny/fold-1": 0.25, "members/1-tiny/fold-2": 0.75})
    ensemble.write(tmp_path, before)
    assert ensemble.read(tmp_path) == before


@pytest.mark.parametrize("content", ["{", "{}"])
def test_a_damaged_file_is_a_user_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "ensemble.json").write_text(content)
    with pytest.raises(UserError, match=r"ensemble\.json is damaged; train again with resume=false\."):
        ensemble.read(tmp_path)


@pytest.mark.parametrize("member", [".", "..", "/", "members/../..", "members/1/../../../other"])
def test_a_member_outside_its_run_folder_is_refused(tmp_path: Path, member: str) -> None:
    ensemble.write(tmp_path / "run", Ensemble(["x"], False, {"members/1": 0.5, member: 0.5}))
    with pytest.raises(UserError, match="names a member outside its run folder"):
        ensemble.read(tmp_path / "run")
