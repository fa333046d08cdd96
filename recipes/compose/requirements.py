"""Requirements of a config, its data and its tricks that are checked before anything is trained."""

from collections.abc import Iterator, Mapping
from typing import Any

from recipes import seams
from recipes.config import Config, as_values, value_at
from recipes.data.splits import Splits
from recipes.errors import UserError, list_names
from recipes.metrics import RANKING, available
from recipes.ranges import as_yaml
from recipes.trick import Trick


def check(config: Config, splits: Splits, tricks: Mapping[str, Trick]) -> None:
    """Refuse a run that cannot work.

    Raises:
        UserError: with every requirement that is not met.
    """
    problems = []
    names = available(len(splits.classes), splits.multi_label)
    if config.evaluate.metric not in names:
        kind = "rows may have several labels, and this data" if splits.multi_label else "this data"
        # How the labels were read may be the surprise.
        notes = [f" Note that {note}" for note in splits.notes if note.startswith("train: ")]
        alike = [name for name in names if name.endswith(f"_{config.evaluate.metric}")]
        choice = list_names(alike, quoted=False, last=" or ") if alike else "one of them"
        problems.append(
            f"evaluate.metric={config.evaluate.metric}: {kind} has {', '.join(names)}; choose {choice}.{''.join(notes)}"
        )
    elif config.evaluate.metric in RANKING and len(set(splits.validation["label"]) & set(splits.classes)) < 2:
        problems.append(
            f"evaluate.metric={config.evaluate.metric} ranks rows of two classes, and validation has rows of one only; "
            f"choose one of {', '.join(name for name in names if name not in RANKING)}, or other validation rows."
        )
    problems += unmet(as_values(config), tricks)
    if problems:
        raise UserError(*problems)


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
    for name, path, value in ((name, *need) for name, trick in tricks.items() for need in trick.needs.items()):
        actual = value_at(values, path)
        if actual != value:
            needed = f"{path}={as_yaml(value)}"
            yield f"{path}={as_yaml(actual)}: {name} needs {needed}; set it, or leave out {name}."
