"""Soup: average the weights of several moments of training, or of several runs, and keep those that help.

uniform: the mean of all ingredients. greedy: the best on validation first; each next one, from the better to the worse,
stays if the mean with it is no worse than without. The last weights are always an ingredient.

Source: Wortsman et al. 2022, Model Soups: Averaging Weights of Multiple Fine-Tuned Models Improves Accuracy without
    Increasing Inference Time, arXiv 2203.05482 (recipe 1: greedy). There the ingredients are whole runs; moments of one
    run, as in AutoGluon, cost no training.
Cost: one pass; a copy of the weights for each ingredient, on the CPU and in every checkpoint; greedy predicts
    validation twice for each of them, once, at the end.
Use when: several runs of one model are there (other seeds or rates; the same data, and the same pretrained weights), or
    the best moment is doubtful. Avoid when: validation is a few dozen rows, and greedy: they choose by chance.
Composes: update/average (takes a moment after the step), weights/final (owns what is evaluated at the end and saved),
    results (says which ingredients validation chose). Excludes other owners of the final weights, and early stopping.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recipes import Context, Run, Trick, UserError, allowed
from recipes.metrics import LOWER_IS_BETTER, Predictions, measure
from recipes.models.anatomy import with_weights
from recipes.runs.checkpoint import inside
from recipes.toolkit.warm_start import WarmStart

Weights = dict[str, Tensor]


@dataclass
class Soup(Trick):
    """Take moments on the way, choose and average at the end."""

    start: float = allowed("[0, 1]")
    """Share of all updates before the first moment."""
    every_fraction: float = allowed("(0, 1]")
    """Share of all updates from one moment to the next."""
    choose: str = allowed("greedy | uniform")
    """Which ingredients stay."""
    folders: list[str] = allowed("")
    """Finished runs of the same model and data whose weights join."""

    slots = {"update": "average", "weights": "final", "results": "results"}
    neutral = {"start": 1.0}

    def __post_init__(self) -> None:
        """Nothing is taken yet."""
        super().__post_init__()
        self.moments: dict[int, Weights] = {}
        self.folder_weights: dict[str, Weights] | None = None
        self.average: Weights | None = None
        self.ingredients: list[str] = []

    def update(self, run: Run, inner: Callable[[], None]) -> None:
        """Take what the step left, if there was a step and it is time; folders are read before the first one."""
        self._read_folders(run)
        before = run.updates
        inner()
        if run.updates > before and self._is_time(run.updates, run.total_updates):
            self.moments[run.updates] = copy_weights(run.bare_model)

    def _is_time(self, updates: int, total: int) -> bool:
        first, between = int(round(self.start * total, 6)), max(1, round(self.every_fraction * total))
        return first < updates < total and (updates - first) % between == 0

    def weights(self, run: Run, inner: Callable[[], AbstractContextManager[bool]]) -> AbstractContextManager[bool]:
        """The average, once training is over; before that the model's own."""
        if run.batches_done < run.total_updates or not (self.moments or self.folders):
            return inner()
        if self.average is None:
            self.average = self._choose_and_average(run)
        return with_weights(run.bare_model, self.average)

    def _choose_and_average(self, run: Run) -> Weights:
        weights_by_name = {f"update {update}": weights for update, weights in self.moments.items()}
        weights_by_name |= self._read_folders(run)
        weights_by_name["the last"] = copy_weights(run.bare_model)

        def score(names: list[str]) -> float:
            with with_weights(run.bare_model, mean([weights_by_name[name] for name in names])):
                found = measure(run.predictions(run.validation))[run.config.evaluate.metric]
            return -found if run.config.evaluate.metric in LOWER_IS_BETTER else found

        selected = self.ingredients = (
            choose_greedily(list(weights_by_name), score) if self.choose == "greedy" else list(weights_by_name)
        )
        run.say(
            f"{self.name}: {', '.join(selected)} ({len(selected)} of {len(weights_by_name)} ingredients) make the average."
        )
        return mean([weights_by_name[name] for name in selected])

    def _read_folders(self, run: Run) -> dict[str, Weights]:
        if self.folder_weights is None:
            self.folder_weights = {folder: self._read_folder(run, folder) for folder in self.folders}
        return self.folder_weights

    def _read_folder(self, run: Run, folder: str) -> Weights:
        warm_start = WarmStart(folder, f"tricks.{self.name}.folders")
        if run.splits.is_fold:
            raise UserError(
                f"{warm_start.setting}: this run is judged on rows that another run on the same data was trained on; leave "
                "the folders out, or take one fold."
            )
        if set(warm_start.classes) != set(run.classes):
            raise UserError(
                f"{warm_start.setting}: its labels are {', '.join(warm_start.classes)}; take a run on this data."
            )
        own, theirs = asdict(run.config.data), warm_start.config["data"]
        if other := [name for name in own if name != "max_length" and own[name] != theirs.get(name)]:
            raise UserError(
                f"{warm_start.setting}: it has data.{other[0]}={theirs.get(other[0])}, this run {own[other[0]]}, so it may "
                "have been trained on what would judge this one; take runs on the same data."
            )
        # Its own weights come back: only what the folder gives is wanted.
        with with_weights(run.bare_model, copy_weights(run.bare_model)):
            warm_start.load_weights(run.bare_model, run.classes)
            return copy_weights(run.bare_model)

    def results(
        self, run: Context, inner: Callable[..., dict[str, Any]], scored: Mapping[str, Predictions]
    ) -> dict[str, Any]:
        """What validation chose, as `ingredients`."""
        selected = {"ingredients": self.ingredients} if self.choose == "greedy" and self.ingredients else {}
        return {**inner(scored), **selected}

    def state(self) -> dict[str, Any]:
        """Every moment that was taken."""
        weights_by_name = {
            f"{update}.{name}": tensor for update, weights in self.moments.items() for name, tensor in weights.items()
        }
        return {"moments": list(self.moments), **weights_by_name}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.moments = {
            update: {name: tensor.cpu() for name, tensor in inside(state, f"{update}.").items()}
            for update in state["moments"]
        }


def choose_greedily(names: list[str], score: Callable[[list[str]], float]) -> list[str]:
    """The ingredients that stay, the best first.

    Args:
        names: of all ingredients.
        score: what the mean of some of them has on validation; higher is better.
    """
    alone = {name: score([name]) for name in names}
    first, *others = sorted(names, key=lambda name: alone[name], reverse=True)
    selected, best = [first], alone[first]
    for name in others:
        if (found := score([*selected, name])) >= best:
            selected, best = [*selected, name], found
    return selected


def copy_weights(model: nn.Module) -> Weights:
    """A copy of the weights, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def mean(ingredients: list[Weights]) -> Weights:
    """The mean of each number; what counts, and so has no mean, is that of the last."""
    last = ingredients[-1]
    return {
        name: torch.stack([each[name] for each in ingredients]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in last.items()
    }
