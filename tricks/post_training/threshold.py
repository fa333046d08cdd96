"""Threshold: decide by thresholds fitted on validation, instead of the most probable class or 0.5.

With multiple labels per row, class c is predicted if p_c >= t_c; with one label, the class with the largest p_c / t_c.
All t start at 0.5, which changes nothing. In several rounds, each class in turn gets the threshold with the highest
macro F1 on validation.

Source: Lipton, Elkan, Naryanaswamy 2014, Thresholding Classifiers to Maximize F1 Score, arXiv 1402.1892 (their optimum
    is found by search, as here). For one label: the plug-in rule of Narasimhan, Vaish, Agarwal 2014 (NIPS).
Cost: one pass; a search over validation probabilities, without further predictions.
Use when: classes are rare and macro F1 (or F1 of multiple labels) matters. Avoid when: accuracy matters; or a class has
    a handful of validation rows: its threshold is then random. Macro F1 on validation is too optimistic afterwards: use
    the test split.
Composes: settle/decide: after calibration; decide/decide: makes the decision. A plain transformers.pipeline does not
    know the thresholds: predict with recipes.load(folder).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recipes import Context, ModelContext, Run, Trick, allowed
from recipes.metrics import Predictions, f1, label_matrices, measure

SMALLEST = 1e-6


@dataclass
class Threshold(Trick):
    """Fit a threshold for each class, then decide by them."""

    rounds: int = allowed("[0, inf)")
    """Passes over all classes in the search."""
    candidates: int = allowed("[1, inf)")
    """Thresholds that are tried for a class."""

    slots = {"settle": "decide", "decide": "decide"}
    neutral = {"rounds": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.thresholds: list[float] = []

    def check(self, run: Run) -> Iterable[str]:
        """Warn if there are few rows to fit on."""
        if len(run.validation) < 100:
            yield (
                f"tricks.{self.name} is fitted on {len(run.validation)} validation rows, too few for a reliable fit; "
                "leave it out, or add validation rows."
            )

    def settle(self, run: Context, inner: Callable[[Predictions], Predictions], validation: Predictions) -> Predictions:
        """Fit the thresholds, and decide again."""
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
        """Decide by the thresholds, once they are fitted."""
        if not self.thresholds:
            return inner(probabilities)
        decisions = apply_thresholds(probabilities.cpu().numpy(), np.array(self.thresholds), run.multi_label)
        return torch.from_numpy(decisions).to(probabilities.device)

    def export(self, run: ModelContext, in_pairs: bool) -> Mapping[str, Any]:
        """The thresholds."""
        return {"thresholds": self.thresholds}

    def state(self) -> dict[str, Any]:
        """The thresholds, which are needed for prediction."""
        return {"thresholds": self.thresholds}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the thresholds."""
        self.thresholds = list(state["thresholds"])


def apply_thresholds(probabilities: np.ndarray, thresholds: np.ndarray, multi_label: bool) -> np.ndarray:
    """The decisions as 0 and 1, (row, class)."""
    over = probabilities / thresholds
    decisions: np.ndarray = over >= 1 if multi_label else np.arange(len(thresholds)) == over.argmax(1)[:, None]
    return decisions.astype(np.int8)


def replace_decisions(predictions: Predictions, thresholds: list[float]) -> Predictions:
    """The same probabilities, decided by the thresholds."""
    decisions = apply_thresholds(predictions.probabilities, np.array(thresholds), predictions.multi_label)
    return replace(predictions, decisions=decisions)


def fit_thresholds(predictions: Predictions, rounds: int, candidates: int) -> list[float]:
    """Fit thresholds by coordinate ascent on macro F1; the one nearest to 0.5 wins a tie.

    Args:
        predictions: predictions of rows with labels.
        rounds: passes over all classes.
        candidates: number of thresholds that are tried for a class: quantiles of the thresholds at which the decision
            on a row changes. 0.5 and the current threshold are tried too.
    """
    true, _, _ = label_matrices(predictions)
    probabilities = predictions.probabilities[predictions.has_label]

    def score(values: list[float]) -> float:
        decisions = apply_thresholds(probabilities, np.array(values), predictions.multi_label)
        return float(f1((true * decisions).sum(0), (true + decisions).sum(0)).mean())

    quantiles = np.linspace(0, 1, candidates + 2)[1:-1]
    thresholds = [0.5] * len(predictions.classes)
    for _ in range(rounds):
        before = list(thresholds)
        for number in range(len(thresholds)):
            changes_at = predictions.probabilities[:, number]
            if not predictions.multi_label:
                changes_at = changes_at / np.delete(predictions.probabilities / thresholds, number, axis=1).max(1).clip(
                    SMALLEST
                )
            turning_points = np.quantile(changes_at, quantiles).clip(SMALLEST)
            options = sorted({*turning_points.tolist(), 0.5, thresholds[number]}, key=lambda value: abs(value - 0.5))
            rest = thresholds[:number], thresholds[number + 1 :]
            thresholds[number] = max(options, key=lambda value: score([*rest[0], value, *rest[1]]))
        if thresholds == before:
            break
    return thresholds
