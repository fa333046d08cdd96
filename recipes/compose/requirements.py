"""Requirements of a config, its data and its tricks that are checked before anything is trained."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from recipes import seams
from recipes.config import Config, as_values, value_at
from recipes.data.splits import Splits
from recipes.errors import UserError, list_names
from recipes.metrics import RANKING, Predictions, available, explain_missing, further_metrics, measure
from recipes.ranges import as_yaml
from recipes.trick import Trick


def check(config: Config, splits: Splits, tricks: Mapping[str, Trick]) -> None:
    """Refuse a run that cannot work.

    Raises:
        UserError: with every requirement that is not met.
    """
    problems: list[str] = []
    names = available(len(splits.classes), splits.multi_label)
    problems += _find_foreign_metrics(config, splits, names)
    if config.evaluate.metric not in names:
        kind = "rows may have several labels, and this data" if splits.multi_label else "this data"
        # How the labels were read may be the surprise.
        notes = [f" Note that {note}" for note in splits.notes if note.startswith("train: ")]
        alike = [name for name in names if name.endswith(f"_{config.evaluate.metric}")]
        choice = list_names(alike, quoted=False, last=" or ") if alike else "one of them"
        problems.append(
            f"evaluate.metric={config.evaluate.metric}: {kind} has {', '.join(names)}; choose {choice}.{''.join(notes)}"
        )
    elif config.evaluate.metric in RANKING and not splits.multi_label and _count_validation_classes(splits) < 2:
        problems.append(
            f"evaluate.metric={config.evaluate.metric} ranks rows of two classes, and validation has rows of one only; "
            f"choose one of {', '.join(name for name in names if name not in RANKING)}, or other validation rows."
        )
    elif further_metrics().get(config.evaluate.metric) and (reason := _find_failure(config.evaluate.metric, splits)):
        problems.append(f"evaluate.metric={config.evaluate.metric} cannot choose the best checkpoint. {reason}")
    problems += unmet(as_values(config), tricks)
    if problems:
        raise UserError(*problems)


def _find_foreign_metrics(config: Config, splits: Splits, names: Sequence[str]) -> Iterator[str]:
    """Metrics of `evaluate.metrics` that this data does not have."""
    for name, custom in further_metrics().items():
        if custom is None and name not in names:
            kind = "rows with more than one label" if splits.multi_label else "rows with one label"
            listed = ", ".join(name for name in names if further_metrics().get(name) is None)
            yield f"evaluate.metrics: {name} is not a metric of {kind}; this data has {listed}."


def _find_failure(metric: str, splits: Splits) -> str | None:
    """Why a metric has no value for random predictions of the validation rows; None if it has one."""
    rows, count = splits.validation, len(splits.classes)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(count), len(rows)).astype(np.float32)
    decisions = probabilities >= 0.5 if splits.multi_label else np.eye(count)[probabilities.argmax(1)]
    guesses = Predictions(
        rows["id"][:], rows["label"][:], probabilities, decisions.astype(np.int8), splits.classes, splits.multi_label
    )
    return explain_missing(guesses, measure(guesses)).get(metric)


def _count_validation_classes(splits: Splits) -> int:
    return len(set(splits.validation["label"]) & set(splits.classes))


def unmet(values: Mapping[str, Any], tricks: Mapping[str, Trick]) -> Iterator[str]:
    """A sentence for each setting that does not go with the selected tricks. It needs no data."""
    if values["model"]["source"] == "linear" and tricks:
        yield f"model=linear has no training loop, so +tricks=[{','.join(tricks)}] cannot act; leave them out."
    stopping = values["evaluate"]["early_stopping"]
    if stopping and (owners := seams.tricks_around("weights", tricks)):
        yield (
            f"evaluate.early_stopping={stopping}: {owners[0]} averages the end of training, which an early stop would "
            "cut off; leave out one of the two."
        )
    for name, path, value in ((name, *need) for name, trick in tricks.items() for need in trick.sets.items()):
        actual = value_at(values, path)
        if actual != value:
            needed = f"{path}={as_yaml(value)}"
            yield f"{path}={as_yaml(actual)}: {name} needs {needed}; set it, or leave out {name}."
