"""What must hold of a config and its data before anything is trained."""

from collections.abc import Mapping
from operator import attrgetter

from recipes import order
from recipes.config import Config
from recipes.data import Splits
from recipes.errors import UserError
from recipes.metrics import RANKING, available
from recipes.ranges import as_yaml
from recipes.trick import Trick


def check(config: Config, splits: Splits, tricks: Mapping[str, Trick]) -> None:
    """Refuse what cannot work, before anything is trained.

    Raises:
        UserError: with all that was found.
    """
    problems = []
    if config.model.source == "linear" and config.tricks:
        tricks_on = ",".join(config.tricks)
        problems.append(f"model=linear has no training loop, so +tricks=[{tricks_on}] cannot act; leave them out.")
    names = available(len(splits.classes), splits.multi_label)
    if config.evaluate.metric not in names:
        problems.append(
            f"evaluate.metric={config.evaluate.metric}: this data has {', '.join(names)}; choose one of them."
        )
    elif config.evaluate.metric in RANKING and len(set(splits.validation["label"]) & set(splits.classes)) < 2:
        problems.append(
            f"evaluate.metric={config.evaluate.metric} ranks rows of two classes, and validation has rows of one only; "
            f"choose one of {', '.join(name for name in names if name not in RANKING)}, or other validation rows."
        )
    if config.evaluate.early_stopping and (owners := order.around("weights", tricks)):
        problems.append(
            f"evaluate.early_stopping={config.evaluate.early_stopping}: {owners[0]} averages the end of training, "
            "which an early stop would cut off; leave out one of the two."
        )
    for name, path, value in ((name, *need) for name, trick in tricks.items() for need in trick.needs.items()):
        found = attrgetter(path)(config)
        if found != value:
            needed = f"{path}={as_yaml(value)}"
            problems.append(f"{path}={as_yaml(found)}: {name} needs {needed}; set it, or leave out {name}.")
    if problems:
        raise UserError(*problems)
