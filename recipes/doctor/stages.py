"""Runs whose training is a stage before the first update."""

from recipes.compose.tricks import build
from recipes.config import Config


def is_trained_before_updates(config: Config) -> bool:
    """Whether a trick trains the model and its head before the first update, and no update changes them."""
    return not config.train.learning_rate and any(trick.fits_head for trick in build(config.tricks).values())
