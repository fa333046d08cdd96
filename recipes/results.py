"""What every run ends with, whatever made it: predictions, pictures, `metrics.json`, and the table that shows them."""

import os
import resource
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from recipes.config import Config
from recipes.folder import FORMAT, FinishedRun, write_json, write_predictions
from recipes.metrics import Predictions
from recipes.pictures import draw_confusion

PACKAGES = ("torch", "transformers", "datasets", "accelerate", "hydra-core", "omegaconf", "scikit-learn")
WIDTH_OF_FILES = 160


def finish(folder: Path, config: Config, scored: Mapping[str, Predictions], metrics: Mapping[str, Any]) -> FinishedRun:
    """Write predictions, pictures and, last of all, `metrics.json`, which says that the run is finished."""
    for name, predictions in scored.items():
        write_predictions(folder / "predictions" / f"{name}.csv", predictions)
    shown = "test" if metrics.get("test") else "validation"
    draw_confusion(scored[shown], folder / "confusion_matrix.png")
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
    return FinishedRun(folder)


def peak_memory_mb(device: torch.device) -> float:
    """The most memory that the device (on a CPU: this process since it began) has held, in MB of 2**20 bytes."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 1)


def console_for_tables() -> Console:
    """A console as wide as the terminal; a file has no width, and a table that is cut in it is lost."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_OF_FILES
    return Console(highlight=False, width=width)


def show(run: FinishedRun) -> None:
    """Print a finished run's scores and where they are; one process speaks for all."""
    if os.environ.get("RANK", "0") != "0":
        return
    metrics = run.metrics
    scored = {name: metrics[name] for name in run.splits if metrics[name]}
    console = console_for_tables()
    console.print(score_table(scored, f"finished: {metrics['kept']} weights"))
    if len(metrics["candidates"]) > 1:
        console.print(score_table(metrics["candidates"], "candidates on validation", "weights"))
    console.print(str(run.folder), markup=False, soft_wrap=True)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Names on the left, figures on the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def score_table(rows: Mapping[str, Mapping[str, float]], title: str, first: str = "split") -> Table:
    """A table with a row of metrics for each name."""
    names = list(dict.fromkeys(name for metrics in rows.values() for name in metrics))
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="right")
    for row, metrics in rows.items():
        cells = (f"{metrics[name]:.4f}" if isinstance(metrics.get(name), float) else str(metrics.get(name, ""))
                 for name in names)  # fmt: skip
        table.add_row(row, *cells)
    return table
