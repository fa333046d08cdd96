"""Make the tricks that a config selects."""

from collections.abc import Mapping
from typing import Any

from recipes.compose.trust import import_class
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
            kind = import_class(target, f"tricks.{name}._target_")
        except UserError as error:
            problems += error.problems
            continue
        if not issubclass(kind, Trick):
            problems.append(f"tricks.{name}._target_={target} is not a recipes.Trick.")
            continue
        trick, mistakes = make_settings(kind, settings, f"tricks.{name}", {"name": name})
        problems += mistakes
        if trick is not None:
            tricks[name] = trick
    if problems:
        raise UserError(*problems)
    check(tricks)
    return tricks
