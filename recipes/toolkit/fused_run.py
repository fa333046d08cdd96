"""The scores and the folder of a run whose model is an ensemble of other runs."""

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
from recipes.doctor.runner import finish
from recipes.metrics import Predictions, measure
from recipes.prediction import ensemble
from recipes.prediction.ensemble import Ensemble
from recipes.prediction.predictors import predict_once
from recipes.runs.folder import RunFolder
from recipes.runtime.distributed import is_first, say, wait_for_all
from recipes.state import write_tricks
from recipes.trackers.tracking import Trackers
from recipes.trick import Context

OUT_OF_FOLD = "out_of_fold"
Weigh = Callable[[np.ndarray, Predictions], np.ndarray]


class FusedRun(Context):
    """An ensemble of members. Each member has one run for each part of the training rows.

    Args:
        config: config of the fused run.
        splits: data of the fused run.
        folder: folder of the fused run.
        runs: by name of the member, the folders of its runs, in the order of `parts`.
        parts: the data that the runs were trained on.
    """

    def __init__(
        self, config: Config, splits: Splits, folder: Path, runs: Mapping[str, Sequence[Path]], parts: Sequence[Part]
    ) -> None:
        self.classes, self.multi_label = splits.classes, splits.multi_label
        self.config, self.splits, self.folder, self.runs, self.parts = config, splits, folder, runs, parts
        self.tricks = build(config.tricks)
        self.deciding_tricks = seams.deciding_tricks(self.tricks)
        # Calibration was done inside each member; a calibrating trick has nothing to report here.
        uncalibrated = {name: trick for name, trick in self.tricks.items() if "settle" not in trick.slots}
        active = {**uncalibrated, **self.deciding_tricks}
        self.base = ContextBase(self)
        self.settle = seams.compose("settle", self.base.settle, active, self)
        self.decide = seams.compose("decide", self.base.decide, active, self)
        self.results = seams.compose("results", self.base.results, active, self)

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        say(text)

    def finish_run(self, weigh: Weigh, scheme: str) -> RunFolder:
        """Weight the members by their predictions of the validation split, score all splits and write the folder.

        Args:
            weigh: maps the log-probabilities, (member, row, class), and the equally weighted predictions to the weight
                of each member, (member), with sum 1.
            scheme: name of the weighting scheme, for the report.
        """
        gc.collect()  # frees the model of the last member
        rows = self.splits.validation
        log_probabilities, votes = self._predict_members(rows)
        weights = weigh(
            log_probabilities,
            self._combine(log_probabilities, np.full(len(log_probabilities), 1 / len(log_probabilities)), rows),
        )
        plain = self._combine(log_probabilities, weights, rows)
        scored = {"validation": self.settle(plain)}
        if self.parts[0].held_out is not None:
            scored[OUT_OF_FOLD] = self._decide(
                self._combine(self._out_of_fold_log_probabilities(), weights, self.splits.train)
            )
        for name, hidden_rows in self.splits.hidden_splits().items():
            scored[name] = self._decide(self._combine(self._predict_members(hidden_rows)[0], weights, hidden_rows))
        measured = self.results(scored)
        candidates = {
            name: measure(self._combine(log_probabilities, alone, rows))
            for name, alone in zip(self.runs, np.eye(len(log_probabilities)), strict=True)
        }
        summary = {
            "scheme": scheme,
            "folds": len(self.parts),
            "members": self._describe_members(log_probabilities, weights, plain),
            **measure_diversity(log_probabilities, weights, plain),
            "disagreement": disagreement(votes, sum(map(len, self.runs.values())), self.multi_label),
        }
        say(_summarize(summary))
        if is_first():
            if self.config.checkpoint.save_model:
                fused = Ensemble(self.splits.classes, self.multi_label, self._weight_by_folder(weights))
                ensemble.write(self.folder, fused)
                write_tricks(self.folder / "model", self.deciding_tricks)
            metrics = {
                **measured,
                "candidates": {**candidates, "fused": measured["validation"]},
                "weights": "fused",
                "ensemble": summary,
                "cost": self._sum_costs(),
                "seams": seams.wrapped_seams(self.tricks),
            }
            with Trackers(self.config, self.folder, self.say) as trackers:
                trackers.start()
                trackers.add_results(finish(self.folder, self.config, self.splits, scored, metrics))
        wait_for_all()
        return RunFolder(self.folder)

    def _predict_members(self, rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Predict rows: log-probabilities, (member, row, class), and how many runs predict each class, (row, class)."""
        pairs = list(rows["text_pair"]) if self.config.data.text_pair else None
        votes = np.zeros((len(rows), len(self.classes)), dtype=np.int64)
        log_probabilities = []
        for folders in self.runs.values():
            mean: Any = 0.0
            for folder in folders:
                predictions = predict_once(folder, list(rows["text"]), pairs, list(rows["id"]))
                mean = mean + ensemble.log_probabilities(predictions) / len(folders)
                votes += predictions.decisions
            log_probabilities.append(mean)
        return np.stack(log_probabilities), votes

    def _out_of_fold_log_probabilities(self) -> np.ndarray:
        """Log-probabilities of the training rows, (member, row, class), by runs that were not trained on them."""
        indices = np.concatenate([part.held_out for part in self.parts if part.held_out is not None])
        log_probabilities = [
            np.concatenate(
                [ensemble.log_probabilities(RunFolder(folder).load_predictions("validation")) for folder in folders]
            )
            for folders in self.runs.values()
        ]
        return np.stack(log_probabilities)[:, np.argsort(indices)]

    def _combine(self, log_probabilities: np.ndarray, weights: np.ndarray, rows: Dataset) -> Predictions:
        """Average the members' log-probabilities of some rows, with the default decision rule."""
        multi_label = self.multi_label
        probabilities = ensemble.probabilities(np.tensordot(weights, log_probabilities, 1), multi_label)
        decisions = self.base.decide(torch.from_numpy(probabilities)).numpy()
        return Predictions(list(rows["id"]), list(rows["label"]), probabilities, decisions, self.classes, multi_label)

    def _decide(self, predictions: Predictions) -> Predictions:
        probabilities = torch.from_numpy(predictions.probabilities)
        return replace(predictions, decisions=self.decide(probabilities).numpy())

    def _weight_by_folder(self, weights: np.ndarray) -> dict[str, float]:
        return {
            str(path.relative_to(self.folder)): float(weight) / len(folders)
            for weight, folders in zip(weights, self.runs.values(), strict=True)
            for path in folders
        }

    def _describe_members(
        self, log_probabilities: np.ndarray, weights: np.ndarray, predictions: Predictions
    ) -> dict[str, Any]:
        """The weight of each member, and how much the selection metric gains from including it."""
        metric = self.config.evaluate.metric
        members: dict[str, dict[str, Any]] = {}
        for index, name in enumerate(self.runs):
            rest = np.where(np.arange(len(weights)) == index, 0.0, weights)
            left = rest.sum()
            members[name] = {"weight": float(weights[index]), "contribution": None}
            if left:
                without = self._combine(log_probabilities, rest / left, self.splits.validation)
                scores = [measure(each, [metric]).get(metric) for each in (predictions, without)]
                if scores[0] is not None and scores[1] is not None:
                    members[name]["contribution"] = scores[0] - scores[1]
        return members

    def _sum_costs(self) -> dict[str, Any]:
        costs = [RunFolder(folder).metrics["cost"] for folders in self.runs.values() for folder in folders]
        seconds = sum(cost["train_seconds"] for cost in costs)
        heaviest = max(costs, key=lambda cost: float(cost["peak_memory_mb"]))
        rows = sum(cost["train_seconds"] * cost["examples_per_second"] for cost in costs)
        modes = {cost.get("graphs", False) for cost in costs}
        return {
            "train_seconds": round(seconds, 3),
            "examples_per_second": round(rows / max(seconds, 1e-9), 3),
            "peak_memory_mb": heaviest["peak_memory_mb"],
            "peak_memory_of": heaviest["peak_memory_of"],
            "passes_per_update": round(sum(cost["passes_per_update"] for cost in costs), 4),
            "graphs": modes.pop() if len(modes) == 1 else "partial",
        }


def _summarize(summary: Mapping[str, Any]) -> str:
    weights = ", ".join(f"{name} {member['weight']:.3g}" for name, member in summary["members"].items())
    return (
        f"ensemble: weights {weights}; two runs disagree on {summary['disagreement']:.1%} of validation; the "
        f"loss is {summary['diversity']:.4f} below the members' average of {summary['average_loss']:.4f}."
    )


def measure_diversity(log_probabilities: np.ndarray, weights: np.ndarray, validation: Predictions) -> dict[str, float]:
    """The average loss of the members and the reduction by their diversity, over the rows with known labels."""
    rows, targets = ensemble.labelled_rows(validation)
    mean = np.tensordot(weights, log_probabilities, 1)[rows]
    return {"average_loss": ensemble.loss(mean, targets), "diversity": ensemble.diversity(mean)}


def disagreement(votes: np.ndarray, count: int, multi_label: bool) -> float:
    """The probability that two runs, drawn at random, predict differently.

    Args:
        votes: how many runs predict each class, (row, class).
        count: number of runs.
        multi_label: whether each class is a separate yes-no answer.
    """
    if count == 1:
        return 0.0
    answers = np.stack([votes, count - votes], axis=-1) if multi_label else votes
    return float(1 - (answers * (answers - 1)).sum(-1).mean() / (count * (count - 1)))
