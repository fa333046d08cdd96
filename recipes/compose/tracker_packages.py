"""Which trackers a config chooses, and whether their packages are installed. Nothing heavy is imported."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from recipes.config import Tracker

PACKAGES = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "mlflow-skinny")}
PACKAGES |= {"swanlab": ("swanlab",)}
"""The packages of each tracker, of which one is enough."""
READERS = {"entity": ("wandb", "swanlab"), "offline": ("wandb", "swanlab"), "tracking_uri": ("mlflow",)}
"""The trackers that read a setting which not all of them read."""


def chosen_trackers(settings: Tracker) -> list[str]:
    """The names of the trackers that are on."""
    return [name for name in PACKAGES if getattr(settings, name)]


def unusable_settings(settings: Tracker) -> Iterator[str]:
    """A sentence for each tracker whose package is missing, and for each setting that no chosen tracker reads."""
    names = chosen_trackers(settings)
    for name in names:
        if not any(map(_is_installed, PACKAGES[name])):
            yield f"tracker={name} needs the package {name}: pip install 'trickbook[{name}]'."
    for setting, readers in READERS.items():
        value = getattr(settings, setting)
        if value and not set(readers) & set(names):
            shown = "true" if value is True else value
            choices = " or ".join(f"tracker={reader}" for reader in readers)
            yield f"tracker.{setting}={shown}: no chosen tracker reads it; choose {choices}, or leave it out."


def _is_installed(package: str) -> bool:
    # Not by whether it can be found as a module: W&B leaves a folder of its own name in the working folder.
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
