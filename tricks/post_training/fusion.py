"""Fusion: train several models, each on several parts of the training rows, and average their logits.

p = softmax(sum over members m of w_m / K * sum over folds k of log p_mk), of several labels sigmoid the same way; K
models of a member each train on all training rows but a K-th, their validation split, on which their weights are
chosen. Folds have equal class shares, keep `data.group` together, and are the same for all members; copies are made
inside a fold, of its own rows. The run's own validation split is seen by no member and scores the whole. Logits of
unlike models are compared as log-probabilities, which differ from them by what is the same for all classes.

Source: averaging in log space: Heskes 1998, Selecting Weighting Factors in Logarithmic Opinion Pools (the loss of the
    whole is the members' average loss minus `diversity`); cross-trained ensembles: Krogh, Vedelsby 1995, Neural Network
    Ensembles, Cross Validation, and Active Learning; fitted weights: Breiman 1996, Stacked Regressions (weights >= 0).
Cost: folds x members runs, one after the other, and as many passes to predict; memory of one model.
Use when: the last point counts more than the bill, or members are unlike. Avoid when: one model must ship: `model/`
    holds no weights then, only who its members are. `fitted` chooses on validation, whose scores are then too good.
Composes: train/train: every other trick works inside each member of the run's own model, but for those that decide
    (settle/decide): they see the whole. A trick of train/data has settled labels and old data before.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from recipes import FinishedRun, Trick, UserError, allowed, ensemble
from recipes.api import claimed_once
from recipes.config import Config
from recipes.data import Splits, strata
from recipes.folder import is_finished
from recipes.members import is_own, member_config
from recipes.metrics import Predictions
from recipes.processes import say
from recipes.training import check
from recipes.tricks import build
from recipes.whole import Part, Whole, of_the_whole


@dataclass
class Fusion(Trick):
    """Train the members, weigh them, and let the folder answer as one model."""

    folds: int = allowed("[1, inf)")
    """Parts of the training rows; 1: every model trains on all."""
    members: list[str] = allowed("")
    """A line of overrides each; none: this run alone."""
    scheme: str = allowed("equal | given | fitted")
    """Where the members' weights come from."""
    values: list[float] = allowed("")
    """With given: each member's."""

    layers = {"train": "train"}
    neutral = {"folds": 1, "members": []}
    passes = 5.0

    def __post_init__(self) -> None:
        """There must be a value for each member, where they are given."""
        super().__post_init__()
        count = max(1, len(self.members))
        if self.scheme == "given" and (len(self.values) != count or min(self.values) < 0 or not sum(self.values)):
            raise ValueError(f"values={self.values} must be {count} numbers from 0 on, one for each member, not all 0")

    def train(
        self, run: None, inner: Callable[..., FinishedRun], config: Config, splits: Splits, folder: Path
    ) -> FinishedRun:
        """Train every member on every fold; then weigh, score, and write the folder of the whole."""
        if self.folds == 1 and not self.members:
            return inner(config, splits, folder)
        configs = self._configs(config)
        for member in configs.values():
            check(member, splits, build(member.tricks))
        parts = list(folds(splits, self.folds, config.data.split_seed))
        runs = {name: [folder / "members" / name / f"fold-{part.number}" for part in parts] for name in configs}
        for name, member in configs.items():
            for part, place in zip(parts, runs[name], strict=True):
                with claimed_once(place, member):
                    if not is_finished(place):
                        say(f"fusion: {name}, fold {part.number} of {self.folds}")
                        inner(member, part.splits, place)
        return Whole(config, splits, folder, runs, parts).finished(self._weights, self.scheme)

    def _configs(self, config: Config) -> dict[str, Config]:
        """Each member's config, by its name."""
        whole = {"fusion", *of_the_whole(build(config.tricks))}
        tricks = {name: values for name, values in config.tricks.items() if name not in whole}
        own = replace(config, resume=True, tricks=tricks)
        configs, problems = {}, []
        for number, line in enumerate(self.members or [""], 1):
            words = re.sub(r"\W+", "-", line or config.model.source).strip("-")
            name = f"{number}-{words[:60]}"
            try:
                configs[name] = member_config(line, own)
                if "fusion" in configs[name].tricks:
                    raise UserError("a member cannot be a fusion.")
            except UserError as error:
                problems += [f"tricks.fusion.members: {line!r}: {problem}" for problem in error.problems]
        if not problems and not any(is_own(vars(member.model), config) for member in configs.values()):
            problems.append(
                f"tricks.fusion.members={self.members}: none is of this run's own model "
                f"({config.model.name or config.model.source}), so what is set for that would train nothing; choose "
                "the model of one of them, or add it."
            )
        if problems:
            raise UserError(*problems)
        return configs

    def _weights(self, shares: np.ndarray, validation: Predictions) -> np.ndarray:
        """What each member counts, (member), the sum 1."""
        if self.scheme == "given":
            return np.array(self.values) / sum(self.values)
        rows, targets = ensemble.known(validation)
        if self.scheme == "equal" or len(shares) == 1 or not len(rows):
            return np.full(len(shares), 1 / len(shares))
        return fitted(shares[:, rows], targets)


def folds(splits: Splits, count: int, seed: int) -> Iterator[Part]:
    """Each part of the training rows beside the others, with equal class shares; what belongs together stays so.

    Raises:
        UserError: there are too few rows, or groups of them.
    """
    apart = [*splits.shut_splits().values(), *splits.kept_apart]
    if count == 1:
        yield Part(1, replace(splits, test=None, extra={}, kept_apart=apart), None)
        return
    rows = splits.train
    _, together = np.unique(rows["source"], return_inverse=True)
    together = together if splits.groups is None else splits.groups
    alone = len(np.unique(together)) == len(rows)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(count, shuffle=True, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class")  # its rows go to as many folds as they are
            classes = strata(rows.with_format("arrow")[:])
            places = list(splitter.split(classes, classes, None if alone else together))
    except ValueError as error:
        raise _too_few(count, len(np.unique(together))) from error
    if not all(len(held) for _, held in places):
        raise _too_few(count, len(np.unique(together)))
    for number, (rest, held) in enumerate(places, 1):
        groups = None if splits.groups is None else splits.groups[rest]
        part = replace(splits, train=rows.select(rest), validation=rows.select(held), test=None, extra={},
                       groups=groups, kept_apart=[splits.validation, *apart])  # fmt: skip
        yield Part(number, part, held)


def _too_few(count: int, there: int) -> UserError:
    return UserError(
        f"tricks.fusion.folds={count}: {there} training rows, or groups of them, are too few for as many folds with "
        "rows of each class; take fewer folds."
    )


def fitted(shares: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The weights, each at least 0 and their sum 1, that make the targets most probable: a convex problem.

    Args:
        shares: the members' log-probabilities, (member, ...), of rows whose labels are known.
        targets: of those rows.
    """

    def loss(weights: np.ndarray) -> float:
        return ensemble.loss(ensemble.normalized(np.tensordot(weights, shares, 1)), targets)

    count = len(shares)
    whole = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    found = minimize(loss, np.full(count, 1 / count), method="SLSQP", bounds=[(0, 1)] * count, constraints=whole)
    weights: np.ndarray = found.x.clip(0)
    weights /= weights.sum()
    return weights
