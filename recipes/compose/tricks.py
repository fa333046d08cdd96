"""Make the tricks that a config selects."""

from collections.abc import Mapping
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import OmegaConf

from recipes.errors import UserError
from recipes.ranges import make_settings
from recipes.seams import check
from recipes.trick import Trick


def build(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Trick]:
    """Make the selected tricks, check their values, and give each its name.

    Args:
        values: the settings of each trick by its name, `_target_` among them.

    Raises:
        UserError: with every value that is unknown, missing, of the wrong type or out of range, and every two tricks
            that exclude each other.
    """
    tricks: dict[str, Trick] = {}
    problems: list[str] = []
    for name in sorted(values):
        settings = dict(values[name])
        target = settings.pop("_target_", None)
        if target is None:
            problems.append(f"tricks.{name} has values but is not selected; add '+tricks=[{name}]'.")
            continue
        try:
            kind: Any = get_class(target)
        except (HydraException, ImportError, ValueError, TypeError) as error:
            reason = str(error.__cause__ or error).split("\n")[0].rstrip(".")
            problems.append(
                f"tricks.{name}._target_={target} cannot be imported ({reason}); is its folder on PYTHONPATH?"
            )
            continue
        if not issubclass(kind, Trick):
            problems.append(f"tricks.{name}._target_={target} is not a recipes.Trick.")
            continue
        trick, mistakes = make_settings(kind, OmegaConf.create(settings), f"tricks.{name}", {"name": name})
        problems += mistakes
        if trick is not None:
            tricks[name] = trick
    if problems:
        raise UserError(*problems)
    check(tricks)
    return tricks
