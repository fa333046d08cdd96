"""Several finished runs that answer as one: the arithmetic of averaged logits, and the file that names the members.

Averaging logits is averaging log-probabilities, since what they differ by is the same for all classes of a row:
p = softmax(sum of w_m log p_m), of several labels the same for yes and no of each class. The loss of p is then the
members' average loss minus their diversity, -log of what normalizes p (Heskes 1998, Selecting Weighting Factors in
Logarithmic Opinion Pools).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from recipes.errors import UserError
from recipes.metrics import Predictions, label_matrices
from recipes.runs.files import write_json

FILE = "ensemble.json"
SMALLEST = float(np.finfo(np.float32).tiny)
NEAR_ONE = 1e-7
"""A probability below which 32 bits tell 1 - p from 1 no longer."""


@dataclass(frozen=True)
class Ensemble:
    """Who answers, and how much each counts."""

    classes: list[str]
    multi_label: bool
    weights: Mapping[str, float]
    """By member: its run folder, as seen from the one that holds them all."""


def write(folder: Path, ensemble: Ensemble) -> None:
    """Write `model/ensemble.json` of a run folder."""
    write_json(folder / "model" / FILE, asdict(ensemble))


def read(folder: Path) -> Ensemble | None:
    """What a run folder's `model/ensemble.json` says; None where one model answers.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / "model" / FILE
    if not path.exists():
        return None
    try:
        return Ensemble(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged; train again with resume=false.") from error


def log_shares(found: Predictions) -> np.ndarray:
    """The logarithms of probabilities: (row, class), of several labels (row, class, yes and no); 64 bits."""
    probabilities = found.probabilities.astype(np.float64)
    shares: np.ndarray = probabilities.clip(SMALLEST)
    if found.multi_label:
        yes = probabilities.clip(NEAR_ONE, 1 - NEAR_ONE)
        shares = np.stack([yes, 1 - yes], axis=-1)
    logarithms: np.ndarray = np.log(shares)
    return logarithms


def normalized(mean: np.ndarray) -> np.ndarray:
    """A weighted mean of `log_shares`, made logarithms of probabilities again."""
    shares: np.ndarray = mean - logsumexp(mean, axis=-1, keepdims=True)
    return shares


def probabilities(mean: np.ndarray, multi_label: bool) -> np.ndarray:
    """What the members say together, (row, class), from a weighted mean of `log_shares`."""
    shares: np.ndarray = np.exp(normalized(mean)).astype(np.float32)
    return shares[..., 0] if multi_label else shares


def known(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose labels training has seen, by place, and their targets as `log_shares` has its entries."""
    true, _, strangers = label_matrices(predictions)
    targets = true[strangers == 0].astype(np.float64)
    rows: np.ndarray = np.flatnonzero(predictions.has_label)[strangers == 0]
    return rows, np.stack([targets, 1 - targets], axis=-1) if predictions.multi_label else targets


def loss(shares: np.ndarray, targets: np.ndarray) -> float:
    """Mean of -log of what is true; of several labels the mean over classes too."""
    rows = targets.sum(-1)
    return float(-(shares * targets).sum() / rows.sum())


def diversity(mean: np.ndarray) -> float:
    """By how much the loss of the whole is below the members' average loss, >= 0, in nats."""
    return float(-logsumexp(mean, axis=-1).mean())
