from pathlib import Path
from typing import Any

from recipes.runs.claim import claim

# Settings that are newer than run folders of the first version.
NEWER = {"header": True, "encoding": None, "fold": None}


def values(**changes: Any) -> dict[str, Any]:
    train = {"epochs": 1.0, "max_updates": None, "schedule": "constant", "warmup": 0.0, "learning_rate": 1e-5}
    config: dict[str, Any] = {"seed": 0, "resume": True, "data": dict(NEWER), "train": train, "tricks": {}}
    config["model"], train["cuda_graphs"] = {"trim_vocabulary": False}, "auto"
    for path, value in changes.items():
        node = config
        *parts, name = path.split("__")
        for part in parts:
            node = node[part]
        node[name] = value
    return config


def claim_once(folder: Path, settings: dict[str, Any]) -> None:
    """Start a run and train for a moment."""
    with claim(folder, settings):
        (folder / "history.jsonl").touch()
