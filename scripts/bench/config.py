"""The config of a run in a benchmark."""

from collections.abc import Sequence
from pathlib import Path

from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.config import Config


def make_config(overrides: Sequence[str], threads: int | None, file: Path | None = None) -> Config:
    """Compose and check a config for the CPU.

    Args:
        overrides: as after train.py.
        threads: of the process; None: PyTorch's choice.
        file: training and validation data.
    """
    composed, _ = compose_config([*overrides, "train.device=cpu", f"train.threads={threads or 'null'}"])
    if file is not None:
        # Not as an override, so that a path may hold any character. As validation too, so that no rows are cut off.
        composed.data.train = composed.data.validation = str(file)
    return read(composed)
