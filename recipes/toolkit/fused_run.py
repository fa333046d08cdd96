"""What several finished runs make together: the scores and the folder of a run that is made of others."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from recipes import seams
from recipes.base import ContextBase
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.data.folds import Part
from recipes.data.splits import Splits
from recipes.metrics import Predictions, measure
from recipes.prediction import ensemble
from recipes.prediction.ensemble import Ensemble
from recipes.prediction.predictors import predict_once
from recipes.reports.results import finish
from recipes.runs.folder import RunFolder
from recipes.runtime.distributed import is_first, say, wait_for_all
from recipes.state import write_tricks
from recipes.trick import Context

OUT_OF_FOLD = "out_of_fold"
Weigh = Callable[[np.ndarray, Predictions], np.ndarray]


class FusedRun(Context):
    """Several members, each of one run or of one for each part, as one.

    Args:
        config: of the whole.
        splits: the data of the whole.
        folder: its run folder.
        runs: the folders of each member's runs, one for each part.
        parts: what the runs were trained on.
    """

    def __init__(
        self, config: Config, splits: Splits, folder: Path, runs: Mapping[str, Sequence[Path]], parts: Sequence[Part]
    ) -> None:
        self.classes, self.multi_label = splits.classes, splits.multi_label
        self.config, self.splits, self.folder, self.runs, self.parts = config, splits, folder, runs, parts
        self.tricks = build(config.tricks)
        self.deciding_tricks = seams.deciding_tricks(self.tricks)
        # What calibrates has done so inside each member, and would tell nothing here.
        telling = {name: trick for name, trick in self.tricks.items() if "settle" not in trick.slots}
        acting = {**telling, **self.deciding_tricks}
        self.base = ContextBase(self)
        self.settle = seams.compose("settle", self.base.settle, acting, self)
        self.decide = seams.compose("decide", self.base.decide, acting, self)
        self.results = seams.compose("results", self.base.results, acting, self)

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        say(text)

    def finished(self, weigh: Weigh, scheme: str) -> RunFolder:
        """Weigh the members by what they say of validation, score the splits, and write the folder.

        Args:
            weigh: gives each member's weight, the sum 1, from its log-probabilities and the rows.
            scheme: how it does so, for those who read.
        """
        gc.collect()  # the last member's model may still be here
        rows = self.splits.validation
        shares, votes = self._heard(rows)
        weights = weigh(shares, self._together(shares, np.full(len(shares), 1 / len(shares)), rows))
        plain = self._together(shares, weights, rows)
        scored = {"validation": self.settle(plain)}
        if self.parts[0].held_out is not None:
            scored[OUT_OF_FOLD] = self._decided(self._together(self._held_out(), weights, self.splits.train))
        for name, shut in self.splits.hidden_splits().items():
            scored[name] = self._decided(self._together(self._heard(shut)[0], weights, shut))
        measured = self.results(scored)
        candidates = {
            name: measure(self._together(shares, alone, rows))
            for name, alone in zip(self.runs, np.eye(len(shares)), strict=True)
        }
        together = {
            "scheme": scheme,
            "folds": len(self.parts),
            "members": self._members(shares, weights, plain),
            **in_sum(shares, weights, plain),
            "disagreement": disagreement(votes, sum(map(len, self.runs.values())), self.multi_label),
        }
        say(_in_words(together))
        if is_first():
            held = Ensemble(self.splits.classes, self.multi_label, self._weight_of_each(weights))
            ensemble.write(self.folder, held)
            write_tricks(self.folder / "model", self.deciding_tricks)
            metrics = {
                **measured,
                "candidates": {**candidates, "fused": measured["validation"]},
                "weights": "fused",
                "ensemble": together,
                "cost": self._cost(),
                "seams": seams.wrapped_seams(self.tricks),
            }
            finish(self.folder, self.config, self.splits, scored, metrics)
        wait_for_all()
        return RunFolder(self.folder)

    def _heard(self, rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """What each member says of some rows, (member, *log_shares), and how many runs answer each (row, class)."""
        pairs = list(rows["text_pair"]) if self.config.data.text_pair else None
        votes = np.zeros((len(rows), len(self.classes)), dtype=np.int64)
        shares = []
        for folders in self.runs.values():
            mean: Any = 0.0
            for folder in folders:
                found = predict_once(folder, list(rows["text"]), pairs, list(rows["id"]))
                mean = mean + ensemble.log_shares(found) / len(folders)
                votes += found.decisions
            shares.append(mean)
        return np.stack(shares), votes

    def _held_out(self) -> np.ndarray:
        """What each member says of the training rows: of each row the run that has not seen it."""
        places = np.concatenate([part.held_out for part in self.parts if part.held_out is not None])
        shares = [
            np.concatenate(
                [ensemble.log_shares(RunFolder(folder).load_predictions("validation")) for folder in folders]
            )
            for folders in self.runs.values()
        ]
        return np.stack(shares)[:, np.argsort(places)]

    def _together(self, shares: np.ndarray, weights: np.ndarray, rows: Dataset) -> Predictions:
        """What members say together of some rows, decided as without any trick."""
        multi_label = self.multi_label
        found = ensemble.probabilities(np.tensordot(weights, shares, 1), multi_label)
        decisions = self.base.decide(torch.from_numpy(found)).numpy()
        return Predictions(list(rows["id"]), list(rows["label"]), found, decisions, self.classes, multi_label)

    def _decided(self, predictions: Predictions) -> Predictions:
        shares = torch.from_numpy(predictions.probabilities)
        return replace(predictions, decisions=self.decide(shares).numpy())

    def _weight_of_each(self, weights: np.ndarray) -> dict[str, float]:
        return {
            str(path.relative_to(self.folder)): float(weight) / len(folders)
            for weight, folders in zip(weights, self.runs.values(), strict=True)
            for path in folders
        }

    def _members(self, shares: np.ndarray, weights: np.ndarray, whole: Predictions) -> dict[str, Any]:
        """Each member's weight, and by how much the metric that chooses is higher with it than without."""
        metric = self.config.evaluate.metric
        found: dict[str, dict[str, Any]] = {}
        for place, name in enumerate(self.runs):
            rest = np.where(np.arange(len(weights)) == place, 0.0, weights)
            left = rest.sum()
            found[name] = {"weight": float(weights[place]), "contribution": None}
            if left:
                without = self._together(shares, rest / left, self.splits.validation)
                found[name]["contribution"] = measure(whole)[metric] - measure(without)[metric]
        return found

    def _cost(self) -> dict[str, Any]:
        costs = [RunFolder(folder).metrics["cost"] for folders in self.runs.values() for folder in folders]
        seconds = sum(cost["train_seconds"] for cost in costs)
        heaviest = max(costs, key=lambda cost: float(cost["peak_memory_mb"]))
        rows = sum(cost["train_seconds"] * cost["examples_per_second"] for cost in costs)
        return {
            "train_seconds": round(seconds, 3),
            "examples_per_second": round(rows / max(seconds, 1e-9), 3),
            "peak_memory_mb": heaviest["peak_memory_mb"],
            "peak_memory_of": heaviest["peak_memory_of"],
            "passes_per_update": round(sum(cost["passes_per_update"] for cost in costs), 4),
        }


def _in_words(together: Mapping[str, Any]) -> str:
    weights = ", ".join(f"{name} {member['weight']:.3g}" for name, member in together["members"].items())
    return (
        f"ensemble: weights {weights}; two runs answer {together['disagreement']:.1%} of validation differently; the "
        f"loss is {together['diversity']:.4f} below the members' average of {together['average_loss']:.4f}."
    )


def in_sum(shares: np.ndarray, weights: np.ndarray, validation: Predictions) -> dict[str, float]:
    """The members' average loss, and what their diversity takes from it; over the rows whose labels are known."""
    rows, targets = ensemble.known(validation)
    mean = np.tensordot(weights, shares, 1)[rows]
    return {"average_loss": ensemble.loss(mean, targets), "diversity": ensemble.diversity(mean)}


def disagreement(votes: np.ndarray, count: int, multi_label: bool) -> float:
    """The share of answers that two runs, drawn at random, give differently.

    Args:
        votes: how many runs answer each class, (row, class).
        count: of the runs.
        multi_label: whether each class is an answer of its own.
    """
    if count == 1:
        return 0.0
    answers = np.stack([votes, count - votes], axis=-1) if multi_label else votes
    return float(1 - (answers * (answers - 1)).sum(-1).mean() / (count * (count - 1)))
