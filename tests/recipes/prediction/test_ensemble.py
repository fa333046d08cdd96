"""The arithmetic of averaged logits, on small numbers."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax

from recipes.metrics import Predictions
from recipes.prediction import ensemble
from recipes.prediction.ensemble import Ensemble


def predictions(probabilities: np.ndarray, labels: list[object], several: bool = False) -> Predictions:
    shares = probabilities.astype(np.float32)
    decisions = (shares >= 0.5) if several else shares == shares.max(1, keepdims=True)
    ids = [str(row) for row in range(len(shares))]
    return Predictions(ids, labels, shares, decisions.astype(np.int8), ["a", "b", "c"], several)


@pytest.fixture
def logits() -> np.ndarray:
    """(member, row, class)."""
    return np.random.default_rng(0).normal(0, 3, (3, 50, 3))


WEIGHTS = np.array([0.5, 0.2, 0.3])


@pytest.mark.parametrize("several", [False, True])
def test_it_is_the_mean_of_logits(logits: np.ndarray, several: bool) -> None:
    squash = expit if several else lambda values: softmax(values, axis=-1)
    shares = [ensemble.log_shares(predictions(squash(each), [None] * 50, several)) for each in logits]
    found = ensemble.probabilities(np.tensordot(WEIGHTS, np.stack(shares), 1), several)
    wanted = squash(np.tensordot(WEIGHTS, logits, 1))
    # A sigmoid near 1 has lost digits of its logit in 32 bits.
    np.testing.assert_allclose(found, wanted, atol=1e-5 if several else 1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("several", [False, True])
def test_the_loss_is_the_average_less_the_diversity(logits: np.ndarray, several: bool) -> None:
    labels: list[object] = [["a", "c"] if several else "abc"[row % 3] for row in range(50)]
    squash = expit if several else lambda values: softmax(values, axis=-1)
    each = [predictions(squash(values), labels, several) for values in logits]
    shares = np.stack([ensemble.log_shares(one) for one in each])
    rows, targets = ensemble.known(each[0])
    mean = np.tensordot(WEIGHTS, shares, 1)
    whole = ensemble.loss(ensemble.normalized(mean), targets)
    average = sum(weight * ensemble.loss(own, targets) for weight, own in zip(WEIGHTS, shares, strict=True))
    assert ensemble.diversity(mean) > 0.01
    assert whole == pytest.approx(average - ensemble.diversity(mean), abs=1e-9)
    assert whole == pytest.approx(_measured(mean, labels, several), abs=1e-6)
    assert list(rows) == list(range(50))


def _measured(mean: np.ndarray, labels: list[object], several: bool) -> float:
    from recipes.metrics import measure

    return measure(predictions(ensemble.probabilities(mean, several), labels, several))["loss"]


def test_unlabelled_and_unseen_rows_are_left_out() -> None:
    found = predictions(np.full((4, 3), 1 / 3), ["b", None, "new", "a"])
    rows, targets = ensemble.known(found)
    assert rows.tolist() == [0, 3]
    assert targets.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_members_that_agree_have_no_diversity() -> None:
    shares = ensemble.log_shares(predictions(np.array([[0.2, 0.3, 0.5]]), ["a"]))
    assert ensemble.diversity(shares) == pytest.approx(0, abs=1e-6)


def test_certainty_stays_finite() -> None:
    sure = predictions(np.array([[1.0, 0.0, 0.0]]), ["b"])
    assert np.isfinite(ensemble.log_shares(sure)).all()
    assert np.isfinite(ensemble.log_shares(predictions(np.array([[1.0, 0.0, 0.0]]), [["b"]], True))).all()


def test_the_file(tmp_path: Path) -> None:
    assert ensemble.read(tmp_path) is None
    held = Ensemble(["甲", "b"], False, {"members/1-tiny/fold-1": 0.25, "members/1-tiny/fold-2": 0.75})
    ensemble.write(tmp_path, held)
    assert ensemble.read(tmp_path) == held
