"""Soup: average snapshots of one run's weights, or the weights of several runs, and keep those that help.

uniform: the mean of all ingredients. greedy: start with the best on validation; then try the others from best to worst,
and add each one if the mean with it is no worse than without. The last weights are always an ingredient.

Source: Wortsman et al. 2022, Model Soups: Averaging Weights of Multiple Fine-Tuned Models Improves Accuracy without
    Increasing Inference Time, arXiv 2203.05482 (recipe 1: greedy). There the ingredients are separate runs; snapshots
    of one run, as in AutoGluon, need no extra training.
Cost: one pass; a copy of the weights for each ingredient, on the CPU and in every checkpoint; greedy predicts
    validation twice for each of them, once, at the end.
Use when: several runs of one model exist (other seeds or learning rates; the same data and pretrained weights), or the
    best snapshot is uncertain. Avoid when: validation has a few dozen rows, with greedy: they select by chance.
Composes: update/average (takes a snapshot after the step), weights/final (sets the weights that are evaluated at the
    end and saved), results (reports the selected ingredients). Excludes other tricks with final weights, and early
    stopping.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recipes import Context, Run, Trick, UserError, allowed
from recipes.metrics import Predictions, is_lower_better, measure
from recipes.models.anatomy import with_weights
from recipes.runs.checkpoint import inside
from recipes.toolkit.warm_start import WarmStart, check_same_data

Weights = dict[str, Tensor]


@dataclass
class Soup(Trick):
    """Take snapshots during training; select and average them at the end."""

    start: float = allowed("[0, 1]")
    """Fraction of all updates before the first snapshot."""
    every_fraction: float = allowed("(0, 1]")
    """Fraction of all updates between two snapshots."""
    choose: str = allowed("greedy | uniform")
    """Which ingredients are averaged."""
    folders: list[str] = allowed("")
    """Finished runs of the same model and data whose weights are ingredients."""

    slots = {"update": "average", "weights": "final", "results": "results"}
    neutral = {"start": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.moments: dict[int, Weights] = {}
        self.folder_weights: dict[str, Weights] = {}
        self.average: Weights | None = None
        self.ingredients: list[str] = []

    def prepare(self, run: Run) -> None:
        """Read the weights of the folders."""
        self.folder_weights = {folder: self._read_folder(run, folder) for folder in self.folders}

    def update(self, run: Run, inner: Callable[[], None]) -> None:
        """Take a snapshot after the step if one is due."""
        inner()
        run.after_step(partial(self._take, run))

    def _take(self, run: Run, updates: int) -> None:
        if self._is_time(updates, run.total_updates):
            self.moments[updates] = copy_weights(run.bare_model)

    def _is_time(self, updates: int, total: int) -> bool:
        first, between = int(round(self.start * total, 6)), max(1, round(self.every_fraction * total))
        return first < updates < total and (updates - first) % between == 0

    def weights(self, run: Run, inner: Callable[[], AbstractContextManager[bool]]) -> AbstractContextManager[bool]:
        """Swap in the average once training is over."""
        if run.batches_done < run.total_updates or not (self.moments or self.folders):
            return inner()
        if self.average is None:
            self.average = self._choose_and_average(run)
        return with_weights(run.bare_model, self.average)

    def _choose_and_average(self, run: Run) -> Weights:
        weights_by_name = {f"update {update}": weights for update, weights in self.moments.items()}
        weights_by_name |= self.folder_weights
        weights_by_name["the last"] = copy_weights(run.bare_model)

        metric = run.config.evaluate.metric

        def score(names: list[str]) -> float:
            with with_weights(run.bare_model, mean([weights_by_name[name] for name in names])):
                value = measure(run.predictions(run.validation), [metric]).get(metric, math.nan)
            return -value if is_lower_better(metric) else value

        names = list(weights_by_name)
        selected = self.ingredients = choose_greedily(names, score) if self.choose == "greedy" else names
        run.say(f"{self.name}: {', '.join(selected)} ({len(selected)} of {len(names)} ingredients) make the average.")
        return mean([weights_by_name[name] for name in selected])

    def _read_folder(self, run: Run, folder: str) -> Weights:
        other_run = WarmStart(folder, f"tricks.{self.name}.folders")
        if run.splits.is_fold:
            raise UserError(
                f"{other_run.setting}: this run is evaluated on rows that another run on the same data was trained on; "
                "leave the folders out, or use one fold."
            )
        if set(other_run.classes) != set(run.classes):
            raise UserError(
                f"{other_run.setting}: its labels are {', '.join(other_run.classes)}; use a run on this data."
            )
        check_same_data(other_run.run, run.config.data, other_run.setting)
        # The model is only used to load the folder's weights; its own weights are restored.
        with with_weights(run.bare_model, copy_weights(run.bare_model)):
            other_run.load_weights(run.bare_model, run.classes)
            return copy_weights(run.bare_model)

    def results(
        self, run: Context, inner: Callable[..., dict[str, Any]], scored: Mapping[str, Predictions]
    ) -> dict[str, Any]:
        """Add the ingredients that greedy selection chose."""
        selected = {"ingredients": self.ingredients} if self.choose == "greedy" and self.ingredients else {}
        return {**inner(scored), **selected}

    def state(self) -> dict[str, Any]:
        """All snapshots."""
        tensors = {
            f"{update}.{name}": tensor for update, weights in self.moments.items() for name, tensor in weights.items()
        }
        return {"moments": list(self.moments), **tensors}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the snapshots."""
        self.moments = {
            update: {name: tensor.cpu() for name, tensor in inside(state, f"{update}.").items()}
            for update in state["moments"]
        }


def choose_greedily(names: list[str], score: Callable[[list[str]], float]) -> list[str]:
    """Select ingredients greedily; the best comes first.

    Args:
        names: names of all ingredients.
        score: maps names to the validation score of their mean; higher is better.
    """
    alone = {name: score([name]) for name in names}
    first, *others = sorted(names, key=lambda name: alone[name], reverse=True)
    selected, best = [first], alone[first]
    for name in others:
        if (value := score([*selected, name])) >= best:
            selected, best = [*selected, name], value
    return selected


def copy_weights(model: nn.Module) -> Weights:
    """A copy of the weights, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def mean(ingredients: list[Weights]) -> Weights:
    """The mean of each weight; integer tensors, such as counters, are taken from the last ingredient."""
    last = ingredients[-1]
    return {
        name: torch.stack([each[name] for each in ingredients]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in last.items()
    }
