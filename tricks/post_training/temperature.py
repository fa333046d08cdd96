"""Temperature: divide the logits by one number, so that a probability of 0.8 is right in 8 of 10 cases.

p = softmax(z / T), with several labels to a row sigmoid(z / T); T makes the validation labels most probable. It is
folded into the head's weights and bias, so that whatever loads the model has it.

Source: Guo, Pleiss, Sun, Weinberger 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599.
Cost: one pass; the validation split is predicted once more at the end.
Use when: probabilities are read, compared or thresholded: fine-tuned encoders are too sure. Avoid when: only the most
    probable class counts, which stays the same; or validation is a few dozen rows.
Composes: settle/calibrate: before decisions are fitted; results/results, to tell what it changed. Where windows are
    merged by anything but the mean of logits, T is fitted to the merged answer and acts on each window's.
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
    """Fit one number on validation, and fold it into the head."""

    limit: float = allowed("[1, inf)")
    """The temperature lies between 1 / limit and limit."""

    slots = {"settle": "calibrate", "results": "results"}
    neutral = {"limit": 1.0}
    remedies = {"overconfidence": "+tricks=[{name}]"}

    def __post_init__(self) -> None:
        """Nothing is fitted yet."""
        super().__post_init__()
        self.summary: dict[str, Any] = {}

    def check(self, run: Run) -> Iterable[str]:
        """Few rows to fit on."""
        if len(run.validation) < 100:
            yield (
                f"tricks.{self.name} is fitted on {len(run.validation)} validation rows, which is chance; leave it "
                "out, or give more of them."
            )

    def settle(self, run: Run, inner: Callable[[Predictions], Predictions], validation: Predictions) -> Predictions:
        """Fit, fold, and predict validation anew."""
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
        """Add the temperature, and what it changed on validation."""
        return {**inner(scored), **({"calibration": self.summary} if self.summary else {})}


def compute_logits(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Logits, but for a constant of each row, and targets of the rows whose labels training has seen; (row, class)."""
    true, _, unseen_counts = label_matrices(predictions)
    targets = true[unseen_counts == 0].astype(np.float64)
    probabilities = predictions.probabilities[predictions.has_label][unseen_counts == 0].astype(np.float64)
    if predictions.multi_label:
        return logit(probabilities.clip(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)), targets
    return np.log(probabilities.clip(np.finfo(np.float32).tiny)), targets


def fit_temperature(logits: np.ndarray, targets: np.ndarray, limit: float, multi_label: bool) -> float:
    """The temperature between 1 / limit and limit that makes the targets most probable."""

    def loss(exponent: float) -> float:
        scaled = logits / np.exp(exponent)
        if multi_label:
            return float((np.logaddexp(0, scaled) - targets * scaled).mean())
        return float(-(targets * log_softmax(scaled, axis=1)).sum(1).mean())

    end = np.log(limit)
    return float(np.exp(minimize_scalar(loss, bounds=(-end, end), method="bounded").x))
