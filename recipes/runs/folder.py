"""The run folder: all files of a run, written atomically, nothing pickled.

`config.yaml` · `history.jsonl` · `metrics.json` · `predictions/<split>.csv` · `model/` · `checkpoints/` · pictures ·
TensorBoard events. A folder with `manifest.json` is a finished run; a folder without it can be resumed. Files of a
finished run are compared with its manifest when they are read.
"""

import csv
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recipes.config import rename_settings, renamed_settings
from recipes.errors import UserError, unreadable
from recipes.metrics import Predictions
from recipes.runs import manifest
from recipes.runs.files import atomic_write, read_json
from recipes.runs.history import History

FORMAT = 3
"""Of `metrics.json`. Since 3 a finished run has a manifest."""
# A folder with one of these holds a run, if only a damaged one.
OF_A_RUN = (manifest.FILE, "metrics.json", "history.jsonl", "checkpoints", "predictions", "model")
# Keys that had another name in the first format of `metrics.json`.
RENAMED_METRICS = {"onion": "seams", "kept": "weights"}


def label_cell(label: Any) -> str:
    """Format a label for `predictions/<split>.csv`: several labels are joined by `|`, no label is an empty cell."""
    return "|".join(label) if isinstance(label, list) else label or ""


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `id,label,prediction,p_<class>...`, in the order of the data; probabilities have six digits."""
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["id", "label", "prediction", *(f"p_{name}" for name in predictions.classes)])
        for row, (row_id, prediction) in enumerate(zip(predictions.ids, predictions.names(), strict=True)):
            probabilities = (f"{probability:.6g}" for probability in predictions.probabilities[row])
            writer.writerow([row_id, label_cell(predictions.labels[row]), label_cell(prediction), *probabilities])


@dataclass
class RunFolder:
    """A run folder with its results.

    `config`, `metrics` and `history` are read from disk once, at the first access. Make a new object to read a folder
    that has changed.
    """

    folder: Path

    def checked(self, name: str) -> Path:
        """The path of a file, or of a folder with all its files, after a comparison with the manifest.

        Raises:
            UserError: it is damaged or missing.
        """
        return manifest.checked(self.folder, name)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config; empty if there is none."""
        return read_config(self.folder) or {}

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The values of `metrics.json`, under the present names."""
        contents = read_json(self.checked("metrics.json"))
        if not isinstance(contents, dict):
            raise manifest.damaged(self.folder, "metrics.json", "is damaged")
        values: dict[str, Any] = contents
        if values.get("format") == 1:
            values = {RENAMED_METRICS.get(name, name): value for name, value in values.items()}
        return values

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """A line for each update and each evaluation."""
        return History(self.checked("history.jsonl")).read()

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The lines of the updates alone; none if the run is fused from others, or has no training loop."""
        return [line for line in self.history if "split" not in line]

    @property
    def splits(self) -> list[str]:
        """The splits that were predicted: validation, then test, then the others by name."""
        files = manifest.read(self.folder)
        paths = (self.folder / "predictions").glob("*.csv") if files is None else map(Path, files)
        names = [path.stem for path in paths if path.parent.name == "predictions"]
        return sorted(names, key=lambda name: (name != "validation", name != "test", name))

    def predictions(self, split: str) -> dict[str, list[str]]:
        """The columns of `predictions/<split>.csv`, by name."""
        with self.checked(f"predictions/{split}.csv").open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        return {name: [row[name] for row in rows] for name in rows[0]}

    def load_predictions(self, split: str) -> Predictions:
        """Read `predictions/<split>.csv` as `Predictions`; the probabilities have six digits."""
        columns = self.predictions(split)
        classes = [name.removeprefix("p_") for name in columns if name.startswith("p_")]
        multi_label = "subset_accuracy" in self.metrics["validation"]

        def parse_label(cell: str) -> Any:
            return [name for name in cell.split("|") if name] if multi_label else cell or None

        predicted_labels = [parse_label(cell) for cell in columns["prediction"]]
        predicted_sets = [label if multi_label else [label] for label in predicted_labels]
        decisions = np.array([[name in names for name in classes] for names in predicted_sets], np.int8)
        probabilities = np.array([columns[f"p_{name}"] for name in classes], dtype=np.float32).T
        labels = [parse_label(cell) for cell in columns["label"]]
        return Predictions(columns["id"], labels, probabilities, decisions, classes, multi_label)


def read_config(folder: Path) -> dict[str, Any] | None:
    """Read the config that a folder's run was started with, under the present names; None if there is no run.

    Raises:
        UserError: `config.yaml` is damaged, or it is missing though there are other files of a run.
    """
    path = manifest.checked(folder, "config.yaml")
    if not path.exists():
        if others := [name for name in OF_A_RUN if (folder / name).exists()]:
            raise manifest.damaged(folder, "config.yaml", f"is missing, though the folder has {others[0]}")
        return None
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise manifest.damaged(folder, "config.yaml", "is damaged") from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    if not isinstance(values, dict):
        raise manifest.damaged(folder, "config.yaml", "is damaged: it holds no settings")
    return rename_settings(values, renamed_settings())


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run.

    Raises:
        UserError: its manifest is damaged; or it has none, and its `metrics.json` is damaged.
    """
    return manifest.read(folder) is not None or _is_finished_without_manifest(folder)


def _is_finished_without_manifest(folder: Path) -> bool:
    """Whether a run was finished before there were manifests: `metrics.json` came last then."""
    if not (folder / "metrics.json").exists():
        return False
    values = read_json(folder / "metrics.json")
    # It is never left incomplete, so it is not a killed process that left it like this.
    if not isinstance(values, dict):
        raise manifest.damaged(folder, "metrics.json", "is damaged")
    is_old: bool = values.get("format", 1) in (1, 2)
    if is_old:
        _note_missing_manifest(folder)
    return is_old


@cache
def _note_missing_manifest(folder: Path) -> None:
    text = "is of an earlier version, which wrote no manifest.json; its files are read without a check."
    print(f"note: {folder} {text}", file=sys.stderr)


def finished_run(folder: str | Path) -> RunFolder:
    """Open the folder of a finished run.

    Raises:
        UserError: it holds no finished run, or a damaged one.
    """
    if not is_finished(Path(folder)):
        raise UserError(f"{folder} holds no finished run (there is no {manifest.FILE}).")
    return RunFolder(Path(folder))
