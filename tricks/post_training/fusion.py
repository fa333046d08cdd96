"""Fusion: train several models, each on several parts of the training rows, and average their logits.

p = softmax(sum over members m of w_m / K * sum over folds k of log p_mk), or with sigmoid for multiple labels. Each
member has K models. Each of them trains on all training rows except one fold, which is its validation split and selects
its best weights. Folds are stratified by class, keep `data.group` together and are the same for all members. Duplicates
and variants are made inside a fold, of its own rows. No member sees the validation split of the run, which scores the
ensemble; with folds=1 every member uses it too. Models of different kinds are averaged as log-probabilities: these
differ from logits by a constant for all classes.

Source: averaging in log space: Heskes 1998, Selecting Weighting Factors in Logarithmic Opinion Pools (the loss of the
    ensemble is the members' average loss minus `diversity`); cross-trained ensembles: Krogh, Vedelsby 1995, Neural
    Network Ensembles, Cross Validation, and Active Learning; fitted weights: Breiman 1996, Stacked Regressions
    (weights >= 0).
Cost: folds x members runs, one after the other, and as many passes to predict; memory of one model.
Use when: quality matters more than cost, or members differ in kind. Avoid when: one model must be deployed: `model/`
    then contains no weights, only the list of members. `fitted` makes validation scores too optimistic.
Composes: train/train: other tricks work inside each member that uses the run's model. Tricks that decide
    (settle/decide) act on the ensemble instead. Tricks of train/data act before the folds are made. A soup of other
    folders is refused in folds: those runs were trained on rows that evaluate these.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.optimize import minimize

from recipes import Trick, UserError, allowed, seams
from recipes.api import claim_once
from recipes.compose.measured import settle_measured
from recipes.compose.members import has_own_model, member_config
from recipes.compose.requirements import check
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.data.folds import Part, folds
from recipes.data.splits import Splits
from recipes.loop import TrainingRun
from recipes.metrics import Predictions
from recipes.prediction import ensemble
from recipes.runs import manifest
from recipes.runs.files import read_json, write_json
from recipes.runs.folder import RunFolder, is_finished
from recipes.runtime.distributed import is_first, on_threads, say
from recipes.state import data_has_changed
from recipes.toolkit.fused_run import FusedRun


@dataclass
class Fusion(Trick):
    """Train the members, weight them, and make the run folder predict with all of them."""

    folds: int = allowed(
        "[1, inf)",
        advised="[1, 10]",
        source="5 to 10 are usual",
        above="every fold costs a full training, for members that are nearly the same",
    )
    """Parts of the training rows; 1: every model trains on all."""
    members: list[str] = allowed("")
    """A line of overrides for each member; none: only this run."""
    scheme: str = allowed("equal | given | fitted")
    """How the members are weighted."""
    values: list[float] = allowed("")
    """With given: the weight of each member."""

    slots = {"train": "train"}
    neutral = {"folds": 1, "members": []}
    passes = 5.0

    def __post_init__(self) -> None:
        """Check that there is a value for each member with scheme=given, and none otherwise."""
        super().__post_init__()
        count, total = max(1, len(self.members)), sum(self.values)
        is_valid = len(self.values) == count and min(self.values) >= 0 and 0 < total < math.inf
        if self.scheme == "given" and not is_valid:
            raise ValueError(
                f"values={self.values} must be {count} numbers of at least 0, one for each member, not all 0"
            )
        if self.scheme != "given" and self.values:
            raise ValueError(f"values={self.values} are only used with scheme=given; set it, or leave them out")

    def train(
        self, run: None, inner: Callable[..., RunFolder], config: Config, splits: Splits, folder: Path
    ) -> RunFolder:
        """Train every member on every fold; then weight the members, score the splits and write the run folder."""
        if self.folds == 1 and not self.members:
            return inner(config, splits, folder)
        parts = list(folds(splits, self.folds, config.data.split_seed, f"tricks.{self.name}.folds"))
        configs = self._build_configs(config, parts)
        runs = {name: [folder / "members" / name / f"fold-{part.number}" for part in parts] for name in configs}
        # Try every new member before the first one trains for hours.
        for (name, member), line in zip(configs.items(), self.members or [""], strict=True):
            if not (runs[name][0] / "config.yaml").exists():
                with self._name_member(line):
                    try_member(member, parts[0].splits)
        for name, member in configs.items():
            for part, path in zip(parts, runs[name], strict=True):
                settled, notes = settle_measured(member, build(member.tricks), path)
                with claim_once(path, settled):
                    check_rows(path, part.splits)
                    if not is_finished(path):
                        say(f"{self.name}: {name}, fold {part.number} of {self.folds}")
                        inner(settled, replace(part.splits, notes=[*part.splits.notes, *notes]), path)
        with on_threads(config.train.threads):
            return FusedRun(config, splits, folder, runs, parts).finish_run(self._weigh, self.scheme)

    def _build_configs(self, config: Config, parts: Sequence[Part]) -> dict[str, Config]:
        """The config of each member, by name; all problems are raised together."""
        tricks = build(config.tricks)
        outside = {self.name, *seams.deciding_tricks(tricks)}
        member_tricks = {name: values for name, values in config.tricks.items() if name not in outside}
        evaluate = replace(config.evaluate, test=False, extra={})
        # The members predict before the run is finished, whatever becomes of their models then.
        checkpoint = replace(config.checkpoint, save_model=True)
        defaults = replace(config, resume=True, tricks=member_tricks, evaluate=evaluate, checkpoint=checkpoint)
        configs: dict[str, Config] = {}
        problems: list[str] = []
        for number, line in enumerate(self.members or [""], 1):
            try:
                with self._name_member(line):
                    member = member_config(line, defaults)
                    self._check(member, parts, member_tricks)
                    model = Path(member.model.name or member.model.source).name
                    configs[f"{number}-{model}"] = member
            except UserError as error:
                problems += error.problems
        if not problems and not any(has_own_model(vars(member.model), config) for member in configs.values()):
            problems.append(
                f"tricks.{self.name}.members={self.members}: none is of this run's own model "
                f"({config.model.name or config.model.source}), so the settings of this model would have no effect; "
                "choose the model of one of the members, or add a member with this model."
            )
        if problems:
            raise UserError(*problems)
        return configs

    @contextmanager
    def _name_member(self, line: str) -> Iterator[None]:
        """Inside this context the message of a `UserError` names the member."""
        try:
            yield
        except UserError as error:
            prefix = f"tricks.{self.name}.members: {line!r}: " if line else ""
            raise UserError(*(f"{prefix}{problem}" for problem in error.problems)) from error

    def _check(self, member: Config, parts: Sequence[Part], of_the_run: Collection[str]) -> None:
        """Refuse a member that cannot be trained on some part, or that has tricks for the full run."""
        tricks = build(member.tricks)
        if nested := [name for name, trick in tricks.items() if isinstance(trick, Fusion)]:
            raise UserError(f"a member cannot be a {nested[0]}; leave it out.")
        for name, trick in tricks.items():
            if "train" in trick.slots and name not in of_the_run:
                raise UserError(f"{name} acts on the full run; add it to the run itself: +tricks=[{self.name},{name}].")
            if name in seams.deciding_tricks(tricks):
                raise UserError(
                    f"{name} acts on the predictions of all members; add it to the run: +tricks=[{self.name},{name}]."
                )
        for part in parts:
            try:
                check(member, part.splits, tricks)
            except UserError as error:
                where = f"in fold {part.number} (tricks.{self.name}.folds={len(parts)}): " if len(parts) > 1 else ""
                raise UserError(*(f"{where}{problem}" for problem in error.problems)) from error

    def _weigh(self, log_probabilities: np.ndarray, validation: Predictions) -> np.ndarray:
        """The weight of each member, (member), with sum 1."""
        if self.scheme == "given":
            return np.array(self.values) / sum(self.values)
        rows, targets = ensemble.labelled_rows(validation)
        if self.scheme == "equal" or len(log_probabilities) == 1 or not len(rows):
            return np.full(len(log_probabilities), 1 / len(log_probabilities))
        return fit_weights(log_probabilities[:, rows], targets)


def try_member(member: Config, splits: Splits) -> None:
    """Set up a member and run one update, so that errors appear before other members train for hours."""
    if member.model.source == "linear":
        return
    with TemporaryDirectory() as scratch:
        run = TrainingRun(member, build(member.tricks), splits, Path(scratch))
        rows = np.arange(min(2, len(run.train)))
        run.seams.gradient(run.train.collate(rows, 0, 0).to(run.accelerator.device))
        run.seams.update()


def check_rows(path: Path, splits: Splits) -> None:
    """Check that a member that is resumed or finished was started on the same rows.

    Raises:
        UserError: the rows differ, or the file that identifies them is damaged.
    """
    file = manifest.checked(path, "rows.json")
    if not file.exists():
        if is_first():
            write_json(file, splits.fingerprint)
        return
    rows = read_json(file)
    if not isinstance(rows, list):
        raise manifest.damaged(path, file.name, "is damaged")
    if rows != splits.fingerprint:
        raise data_has_changed(path)


def fit_weights(log_probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fit weights of at least 0, with sum 1, that maximize the probability of the targets: a convex problem.

    Args:
        log_probabilities: log-probabilities of each member, (member, row, class), for rows with known labels.
        targets: targets of these rows, (row, class).
    """

    def loss(weights: np.ndarray) -> float:
        return ensemble.loss(ensemble.normalized(np.tensordot(weights, log_probabilities, 1)), targets)

    count = len(log_probabilities)
    sums_to_one = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    solution = minimize(
        loss, np.full(count, 1 / count), method="SLSQP", bounds=[(0, 1)] * count, constraints=sums_to_one
    )
    weights: np.ndarray = solution.x.clip(0)
    weights /= weights.sum()
    return weights
