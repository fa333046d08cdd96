"""The disk that runs need: estimated before they start, and compared with what is free."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from recipes.config import Config
from recipes.errors import unreadable

# Bytes in a run folder, rounded up from runs with 2 to 20 classes.
OF_AN_UPDATE, OF_A_ROW, OF_A_CLASS = 700, 40, 20
# Tokenizer, pictures, card and page.
OF_FILES = 4_000_000


@dataclass(frozen=True)
class Need:
    """The bytes that a run takes."""

    checkpoint: int
    """Of one checkpoint: the weights, and two moments of each trained weight."""
    most: int
    """While it runs: all checkpoints that stay and the one that is being written, the best weights, and the result."""
    result: int
    """When it is finished."""


def estimate(config: Config, weights: int, trained: int, updates: int, rows: int, classes: int) -> Need:
    """Estimate the disk that a run needs.

    Args:
        config: of the run.
        weights: bytes of all weights.
        trained: bytes of the weights that are trained.
        updates: of the whole run.
        rows: that are predicted at the end, over all splits.
        classes: of the data.
    """
    settings = config.checkpoint
    checkpoint = weights + 2 * trained
    best = weights if config.evaluate.weights == "best" else 0
    model = weights if settings.save_model else 0
    result = model + updates * OF_AN_UPDATE + rows * (OF_A_ROW + classes * OF_A_CLASS) + OF_FILES
    most = (settings.keep + 1) * checkpoint + best + result
    has_checkpoints = settings.after_finish == "keep"
    return Need(checkpoint, most, result + (settings.keep * checkpoint + best if has_checkpoints else 0))


def free_bytes(folder: Path) -> int:
    """The free space on the disk of a folder, which need not exist yet.

    Raises:
        UserError: the disk cannot be read.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        return shutil.disk_usage(existing).free
    except OSError as error:
        raise unreadable(str(existing), error) from error


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def describe_bytes(count: float) -> str:
    """A number of bytes in MB or GB.

    Example:
        >>> describe_bytes(2_500_000), describe_bytes(2_500_000_000)
        ('3 MB', '2.5 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{-(-count // 1_000_000):.0f} MB"
