"""What every run ends with, whatever made it: predictions, pictures, a card, `metrics.json`, and how it is shown."""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recipes.config import Config
from recipes.data.splits import Splits
from recipes.metrics import Predictions
from recipes.reports.model_card import card
from recipes.reports.plots import draw_confusion
from recipes.reports.tables import console_for_tables, score_table
from recipes.runs.files import atomic_write, write_json
from recipes.runs.folder import FORMAT, RunFolder, write_predictions
from recipes.runtime.distributed import is_first

PACKAGES = ("torch", "transformers", "datasets", "accelerate", "hydra-core", "omegaconf", "scikit-learn")


def finish(
    folder: Path, config: Config, splits: Splits, scored: Mapping[str, Predictions], metrics: Mapping[str, Any]
) -> RunFolder:
    """Write predictions, pictures, the card and, last, `metrics.json`, which says that the run is finished."""
    for name, predictions in scored.items():
        write_predictions(folder / "predictions" / f"{name}.csv", predictions)
    shown = "test" if metrics.get("test") else "validation"
    draw_confusion(scored[shown], folder / "confusion_matrix.png")
    tokenizer = folder / "model" / "tokenizer_config.json"
    limit = json.loads(tokenizer.read_text(encoding="utf-8"))["model_max_length"] if tokenizer.exists() else None
    with atomic_write(folder / "model" / "README.md") as draft:
        draft.write_text(card(config, splits, scored, metrics, limit), encoding="utf-8")
    write_json(
        folder / "metrics.json",
        {
            "format": FORMAT,
            **metrics,
            "versions": {"python": sys.version.split()[0], **{name: version(name) for name in PACKAGES}},
            "seed": config.seed,
            "tricks": sorted(config.tricks),
        },
    )
    return RunFolder(folder)


def show(run: RunFolder) -> None:
    """Print a finished run's scores and where they are; one process speaks for all."""
    if not is_first():
        return
    metrics = run.metrics
    scored = {name: metrics[name] for name in run.splits if metrics[name]}
    console = console_for_tables()
    console.print(score_table(scored, f"finished: {metrics['weights']} weights"))
    if len(metrics["candidates"]) > 1:
        console.print(score_table(metrics["candidates"], "candidates on validation", "weights"))
    console.print(str(run.folder), markup=False, soft_wrap=True)
