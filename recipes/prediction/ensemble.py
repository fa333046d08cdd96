"""Ensembles of finished runs: the arithmetic of averaged logits, and the file that names the members.

The average of logits equals the average of log-probabilities, since the two differ by a constant for all classes of a
row: p = softmax(sum of w_m log p_m). With several labels to a row, the same holds for yes and no of each class. The
loss of p is the members' average loss minus their diversity, which is -log of the sum that normalizes p (Heskes 1998,
Selecting Weighting Factors in Logarithmic Opinion Pools).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp

from recipes.errors import UserError
from recipes.metrics import PROBABILITY_MARGIN, Predictions, label_matrices
from recipes.runs.files import write_json

FILE = "ensemble.json"
SMALLEST = float(np.finfo(np.float32).tiny)
"""Probabilities are clipped to this number before their logarithm is taken, so that it stays finite."""


@dataclass(frozen=True)
class Ensemble:
    """The members of an ensemble, and their weights."""

    classes: list[str]
    multi_label: bool
    weights: Mapping[str, float]
    """By member: its run folder, relative to the folder of the fused run."""


def write(folder: Path, ensemble: Ensemble) -> None:
    """Write `model/ensemble.json` of a run folder."""
    write_json(folder / "model" / FILE, asdict(ensemble))


def read(folder: Path) -> Ensemble | None:
    """Read `model/ensemble.json` of a run folder; None if the run has one model of its own.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / "model" / FILE
    if not path.exists():
        return None
    try:
        ensemble = Ensemble(**json.loads(path.read_text(encoding="utf-8")))
        # A member outside would read other folders, and the folder itself would be read for ever.
        weights: list[Any] = [*ensemble.weights.values()]
        names: list[Any] = [*ensemble.classes]
        if not all(isinstance(weight, int | float) and 0 <= weight < float("inf") for weight in weights):
            raise ValueError("a weight is NaN, inf or below 0")
        if not sum(weights) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("no member counts, or there is no class")
        outside = [each for each in ensemble.weights if folder.resolve() not in (folder / each).resolve().parents]
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged; train again with resume=false.") from error
    if outside:
        raise UserError(f"{path} names a member outside its run folder ({outside[0]}); train again with resume=false.")
    return ensemble


def log_probabilities(predictions: Predictions) -> np.ndarray:
    """Take the logarithms of the probabilities, in float64.

    Returns:
        (row, class); with several labels to a row (row, class, yes and no).
    """
    probabilities = predictions.probabilities.astype(np.float64)
    clipped: np.ndarray = probabilities.clip(SMALLEST)
    if predictions.multi_label:
        yes = probabilities.clip(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
        clipped = np.stack([yes, 1 - yes], axis=-1)
    logarithms: np.ndarray = np.log(clipped)
    return logarithms


def normalized(mean: np.ndarray) -> np.ndarray:
    """Normalize a weighted mean of `log_probabilities`, so that its exponentials sum to 1 again."""
    logarithms: np.ndarray = mean - logsumexp(mean, axis=-1, keepdims=True)
    return logarithms


def probabilities(mean: np.ndarray, multi_label: bool) -> np.ndarray:
    """Compute the probabilities of the ensemble, (row, class), from a weighted mean of `log_probabilities`."""
    exponentials: np.ndarray = np.exp(normalized(mean)).astype(np.float32)
    return exponentials[..., 0] if multi_label else exponentials


def labelled_rows(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows whose labels are all among the training classes.

    Returns:
        Their indices, (row), and their targets in the shape of `log_probabilities`.
    """
    true, _, unseen = label_matrices(predictions)
    targets = true[unseen == 0].astype(np.float64)
    rows: np.ndarray = np.flatnonzero(predictions.has_label)[unseen == 0]
    return rows, np.stack([targets, 1 - targets], axis=-1) if predictions.multi_label else targets


def loss(logarithms: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-probability of the targets; with several labels to a row the mean over classes too."""
    rows = targets.sum(-1)
    return float(-(logarithms * targets).sum() / rows.sum())


def diversity(mean: np.ndarray) -> float:
    """How much lower the ensemble's loss is than its members' average loss, >= 0, in nats."""
    return float(-logsumexp(mean, axis=-1).mean())
