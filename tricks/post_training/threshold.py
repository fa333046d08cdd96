"""Threshold: decide by thresholds that are fitted on validation, in place of the most probable class or 0.5.

With several labels to a row, class c is answered where p_c >= t_c; with one, the class of the largest p_c / t_c. All t
begin at 0.5, which changes nothing; class by class the one that gives the highest macro F1 on validation is taken, in
several rounds.

Source: Lipton, Elkan, Naryanaswamy 2014, Thresholding Classifiers to Maximize F1 Score, arXiv 1402.1892 (their optimum
    is found by search, as here). For one label: the plug-in rule of Narasimhan, Vaish, Agarwal 2014 (NIPS).
Cost: one pass; a search over validation probabilities, no prediction more.
Use when: classes are rare and macro F1 (or F1 of several labels) counts. Avoid when: accuracy counts; or a class has a
    handful of validation rows: its threshold is chance. Macro F1 on validation is too good afterwards: look at test.
Composes: settle/decide: after calibration; decide/decide: owns the answer. Plain transformers.pipeline does not know
    the thresholds: predict with recipes.load(folder).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recipes import Context, Run, Trick, allowed
from recipes.metrics import Predictions, f1, label_matrices, measure

SMALLEST = 1e-6


@dataclass
class Threshold(Trick):
    """Fit a threshold for each class, then decide by them."""

    rounds: int = allowed("[0, inf)")
    """Times that every class's threshold is sought."""
    candidates: int = allowed("[1, inf)")
    """Thresholds that are tried for a class."""

    slots = {"settle": "decide", "decide": "decide"}
    neutral = {"rounds": 0}

    def __post_init__(self) -> None:
        """Nothing is fitted yet."""
        super().__post_init__()
        self.thresholds: list[float] = []

    def check(self, run: Run) -> Iterable[str]:
        """Few rows to fit on."""
        if len(run.validation) < 100:
            yield (
                f"tricks.{self.name} is fitted on {len(run.validation)} validation rows, which is chance; leave "
                "it out, or give more of them."
            )

    def settle(self, run: Context, inner: Callable[[Predictions], Predictions], validation: Predictions) -> Predictions:
        """Fit, and decide anew."""
        before = inner(validation)
        if not self.rounds or not before.has_label.any():
            return before
        self.thresholds = fit_thresholds(before, self.rounds, self.candidates)
        after = replace_decisions(before, self.thresholds)
        was, now = measure(before)["macro_f1"], measure(after)["macro_f1"]
        text = ", ".join(f"{name} {value:.3g}" for name, value in zip(before.classes, self.thresholds, strict=True))
        run.say(f"{self.name}: {text}; macro_f1 on validation was {was:.4f} and is {now:.4f}.")
        return after

    def decide(self, run: Context, inner: Callable[[Tensor], Tensor], probabilities: Tensor) -> Tensor:
        """By the thresholds, once there are some."""
        if not self.thresholds:
            return inner(probabilities)
        found = apply_thresholds(probabilities.cpu().numpy(), np.array(self.thresholds), run.multi_label)
        return torch.from_numpy(found).to(probabilities.device)

    def state(self) -> dict[str, Any]:
        """The thresholds, which predicting needs."""
        return {"thresholds": self.thresholds}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.thresholds = list(state["thresholds"])


def apply_thresholds(probabilities: np.ndarray, thresholds: np.ndarray, multi_label: bool) -> np.ndarray:
    """What is answered, (row, class) of 0 and 1."""
    over = probabilities / thresholds
    decisions: np.ndarray = over >= 1 if multi_label else np.arange(len(thresholds)) == over.argmax(1)[:, None]
    return decisions.astype(np.int8)


def replace_decisions(predictions: Predictions, thresholds: list[float]) -> Predictions:
    """The same probabilities with other decisions."""
    decisions = apply_thresholds(predictions.probabilities, np.array(thresholds), predictions.multi_label)
    return replace(predictions, decisions=decisions)


def fit_thresholds(predictions: Predictions, rounds: int, candidates: int) -> list[float]:
    """Thresholds by coordinate ascent on macro F1; among equals the one nearest to 0.5.

    Args:
        predictions: of rows with labels.
        rounds: times that every class is sought.
        candidates: quantiles that are tried of those thresholds from which on a row has another answer, beside 0.5 and
            the threshold so far.
    """
    true, _, _ = label_matrices(predictions)
    probabilities = predictions.probabilities[predictions.has_label]

    def score(values: list[float]) -> float:
        decisions = apply_thresholds(probabilities, np.array(values), predictions.multi_label)
        return float(f1((true * decisions).sum(0), (true + decisions).sum(0)).mean())

    quantiles = np.linspace(0, 1, candidates + 2)[1:-1]
    found = [0.5] * len(predictions.classes)
    for _ in range(rounds):
        before = list(found)
        for number in range(len(found)):
            turning = predictions.probabilities[:, number]
            if not predictions.multi_label:
                turning = turning / np.delete(predictions.probabilities / found, number, axis=1).max(1).clip(SMALLEST)
            turning_points = np.quantile(turning, quantiles).clip(SMALLEST)
            options = sorted({*turning_points.tolist(), 0.5, found[number]}, key=lambda value: abs(value - 0.5))
            found[number] = max(options, key=lambda value: score([*found[:number], value, *found[number + 1 :]]))
        if found == before:
            break
    return found
