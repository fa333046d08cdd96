"""The first line of a run: what is about to happen, as far as the config alone says."""

from pathlib import Path

from recipes.config import Config


def describe_start(config: Config, folder: Path) -> str:
    """Name data, model, tricks, seed, length and folder of a run in one line."""
    data, train = config.data, config.train
    parts = (
        (data.train if data.source == "files" else data.name) or data.source,
        config.model.name or config.model.source,
        ", ".join(sorted(config.tricks)) or "no tricks",
        f"seed {config.seed}",
        f"{train.max_updates} updates" if train.max_updates else f"{train.epochs:g} epochs",
    )
    return f"run: {' · '.join(map(str, parts))} -> {folder}"
