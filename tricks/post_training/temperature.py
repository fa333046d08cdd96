"""Temperature: divide the logits by one number, so that a probability of 0.8 is right in 8 of 10 cases.

p = softmax(z / T), or sigmoid(z / T) with multiple labels per row. T maximizes the likelihood of the validation labels.
It is folded into the weights and bias of the head, so that every program that loads the model applies it.

Source: Guo, Pleiss, Sun, Weinberger 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599.
Cost: one pass; the validation split is predicted once more at the end.
Use when: probabilities are read, compared or thresholded: fine-tuned encoders are overconfident. Avoid when: only the
    most probable class matters, which stays the same; or validation has a few dozen rows.
Composes: settle/calibrate: before thresholds are fitted; results/results, to report the change. If windows are merged
    by anything but the mean of logits, T is fitted to the merged prediction but acts on that of each window.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logit

from recipes import Context, Run, Trick, allowed
from recipes.metrics import PROBABILITY_MARGIN, Predictions, label_matrices, measure


@dataclass
class Temperature(Trick):
    """Fit the temperature on validation, and fold it into the head."""

    limit: float = allowed("[1, inf)")
    """The temperature lies between 1 / limit and limit."""

    slots = {"settle": "calibrate", "results": "results"}
    neutral = {"limit": 1.0}
    remedies = {"overconfidence": "+tricks=[{name}]"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.summary: dict[str, Any] = {}

    def check(self, run: Run) -> Iterable[str]:
        """Warn if there are few rows to fit on."""
        if len(run.validation) < 100:
            yield (
                f"tricks.{self.name} is fitted on {len(run.validation)} validation rows, too few for a reliable fit; "
                "leave it out, or add validation rows."
            )

    def settle(self, run: Run, inner: Callable[[Predictions], Predictions], validation: Predictions) -> Predictions:
        """Fit the temperature, fold it into the head, and predict validation again."""
        before = inner(validation)
        logits, targets = compute_logits(before)
        if self.limit == 1 or not len(logits):
            return before
        value = fit_temperature(logits, targets, self.limit, before.multi_label)
        with torch.no_grad():
            for parameter in run.head.parameters():
                parameter.div_(value)
        after = run.predictions(run.validation)
        self.summary = {"temperature": value, "before": measure(before), "after": measure(after)}
        name = "loss" if before.multi_label else "ece"
        was, now = self.summary["before"][name], self.summary["after"][name]
        bound = " (the limit)" if abs(abs(np.log(value)) - np.log(self.limit)) < 1e-3 else ""
        run.say(f"{self.name}: {value:.3f}{bound}; {name} on validation was {was:.4f} and is {now:.4f}.")
        return after

    def results(
        self, run: Context, inner: Callable[..., dict[str, Any]], scored: Mapping[str, Predictions]
    ) -> dict[str, Any]:
        """Add the temperature and its effect on validation."""
        return {**inner(scored), **({"calibration": self.summary} if self.summary else {})}


def compute_logits(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Logits, up to a constant per row, and targets, both (row, class), of rows whose labels are all known."""
    true, _, unseen_counts = label_matrices(predictions)
    targets = true[unseen_counts == 0].astype(np.float64)
    probabilities = predictions.probabilities[predictions.has_label][unseen_counts == 0].astype(np.float64)
    if predictions.multi_label:
        return logit(probabilities.clip(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)), targets
    return np.log(probabilities.clip(np.finfo(np.float32).tiny)), targets


def fit_temperature(logits: np.ndarray, targets: np.ndarray, limit: float, multi_label: bool) -> float:
    """Fit the temperature between 1 / limit and limit that maximizes the likelihood of the targets."""

    def loss(exponent: float) -> float:
        scaled = logits / np.exp(exponent)
        if multi_label:
            return float((np.logaddexp(0, scaled) - targets * scaled).mean())
        return float(-(targets * log_softmax(scaled, axis=1)).sum(1).mean())

    end = np.log(limit)
    return float(np.exp(minimize_scalar(loss, bounds=(-end, end), method="bounded").x))
