"""The settings of a study, `hydra.sweeper`; their defaults are in `conf/hydra/sweeper/ablation.yaml`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.errors import UserError
from recipes.ranges import allowed, as_yaml, make_settings, out_of_range


@dataclass
class Settings:
    """Settings of a study."""

    seeds: int = allowed("[1, inf)")
    """Number of seeds of every arm on every data set."""
    design: str = allowed("auto | full | one_at_a_time | leave_one_out")
    budget: int = allowed("[2, inf)")
    """Maximum number of runs."""
    plan: bool = allowed("")
    """Print the plan and stop."""
    always: list[str] = allowed("")
    """Tricks that are on in every run."""
    margin: float = allowed("(0, inf)")
    """Effects smaller than this do not matter, in the metric's unit."""
    second_endpoint: str = allowed("loss | brier | none")
    """The proper score that is estimated next to the metric; none is where the metric is the same one."""
    rotate: bool = allowed("")
    """Whether each seed is validated on another fold."""
    stop: str = allowed("fixed | when_clear")
    """Whether seeds are added in rounds until the recipe is decided, as far as the budget goes."""
    confirm: bool = allowed("")
    """Whether the recommended recipe is run against its controls."""
    lengths: list[float] = allowed("")
    """Multiples of the updates at which the study is repeated; the longest decides."""
    check_base: bool = allowed("")
    """Whether the study ends if its base has not learned, or improves with twice the updates."""
    max_batch_size: int | None = allowed("[1, inf)")
    """Number of runs that the launcher gets at once."""


def read_settings(values: Mapping[str, Any]) -> Settings:
    """Read and check the settings.

    Raises:
        UserError: with every wrong setting.
    """
    settings, problems = make_settings(Settings, values, "hydra.sweeper")
    if not problems:
        problems = list(out_of_range(settings, "hydra.sweeper."))
        if settings.confirm and settings.seeds == 1:
            problems.append(
                "hydra.sweeper.seeds=1 is too few to confirm a recipe; take 2 or more, or hydra.sweeper.confirm=false."
            )
        lengths = settings.lengths
        if not lengths or len(set(lengths)) < len(lengths) or not all(0 < each < math.inf for each in lengths):
            problems.append(
                f"hydra.sweeper.lengths={as_yaml(lengths)}: list multiples of the updates, above 0 and all "
                "different, such as [1,2]."
            )
    if problems:
        raise UserError(*problems)
    checked: Settings = settings
    checked.lengths.sort()
    return checked
