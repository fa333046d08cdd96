"""What `hydra.sweeper` may say of a study; the values stand in `conf/hydra/sweeper/ablation.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from recipes.errors import UserError
from recipes.ranges import allowed, instantiate, out_of_range


@dataclass
class Settings:
    """Settings of a study."""

    seeds: int = allowed("[1, inf)")
    """Of every arm on every data set."""
    design: str = allowed("auto | full | one_at_a_time | leave_one_out")
    budget: int = allowed("[2, inf)")
    """Runs at most."""
    plan: bool = allowed("")
    """Say what would be run, and stop."""
    always: list[str] = allowed("")
    """Tricks that are on in every run."""
    margin: float = allowed("(0, inf)")
    """Effects smaller than this are not worth having, in the metric's unit."""
    stop: str = allowed("fixed | when_clear")
    """Whether seeds are added where the verdict is still open."""
    confirm: bool = allowed("")
    """Whether what helps is run against its control."""
    max_batch_size: int | None = allowed("[1, inf)")
    """Runs given to the launcher at once."""


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Check the settings.

    Raises:
        UserError: with every one that is wrong.
    """
    settings, problems = instantiate(Settings, OmegaConf.create(dict(values)), "hydra.sweeper")
    if not problems:
        problems = list(out_of_range(settings, "hydra.sweeper."))
        if settings.confirm and settings.seeds == 1:
            problems.append(
                "hydra.sweeper.seeds=1 leaves nothing to confirm by; take 2 or more, or hydra.sweeper.confirm=false."
            )
    if problems:
        raise UserError(*problems)
    found: Settings = settings
    return found
