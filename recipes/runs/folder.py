"""The run folder: all files of a run, written atomically, nothing pickled.

`config.yaml` · `history.jsonl` · `metrics.json` · `predictions/<split>.csv` · `model/` · `checkpoints/` · pictures ·
TensorBoard events. A folder with `manifest.json` is a finished run; a folder without it can be resumed. Files of a
finished run are compared with its manifest when they are read.
"""

import csv
import re
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any

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


# A row without a label among rows with lists of labels, where an empty cell is the empty list.
NO_LIST = "\\N"


def label_cell(label: Any) -> str:
    r"""Format a label for a cell of CSV; no label is an empty cell.

    The labels of a list are joined by `|`. In a list `|` and `\` are written as `\|` and `\\`.
    """
    if isinstance(label, list):
        return "|".join(name.replace("\\", "\\\\").replace("|", "\\|") for name in label)
    return label or ""


def parse_labels(cell: str) -> list[str] | None:
    """Read a list of labels that `label_cell` has written."""
    if cell == NO_LIST:
        return None
    names = re.findall(r"(?:\\[|\\]|[^|])+", cell)
    return [re.sub(r"\\([|\\])", r"\1", name) for name in names]


def csv_writer(lines: IO[str], delimiter: str = ",") -> Any:
    """A writer of CSV whose rows are read back equal; the file must be open with `newline=""`."""

    class Lines:
        """Ends a row with a line feed alone. Cells with a carriage return are quoted only if rows end with one too."""

        def write(self, row: str) -> int:
            return lines.write(f"{row[:-2]}\n")

    return csv.writer(Lines(), delimiter=delimiter, lineterminator="\r\n")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `id,label,prediction,p_<class>...`, in the order of the data.

    Probabilities have as many digits as tell two numbers of 32 bits apart, so they are read back equal.
    """
    no_label = NO_LIST if predictions.multi_label else ""
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as lines:
        writer = csv_writer(lines)
        writer.writerow(["id", "label", "prediction", *(f"p_{name}" for name in predictions.classes)])
        rows = zip(predictions.ids, predictions.labels, predictions.names(), predictions.probabilities, strict=True)
        for row_id, label, prediction, probabilities in rows:
            cell = no_label if label is None else label_cell(label)
            writer.writerow([row_id, cell, label_cell(prediction), *probabilities.astype(np.float32).astype(str)])


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

    @property
    def multi_label(self) -> bool:
        """Whether a row may have several labels."""
        # Runs of earlier versions do not say so, but multi-label metrics have other names.
        is_old_multi_label = "subset_accuracy" in self.metrics.get("validation", {})
        return bool(self.metrics.get("labels", {}).get("multi_label", is_old_multi_label))

    @property
    def multi_hot(self) -> int | None:
        """The length of the lists in the data, if each is 0 or 1 for each class, else 0; None if it is not known."""
        length: int | None = self.metrics.get("labels", {}).get("multi_hot")
        return length

    def predictions(self, split: str) -> dict[str, list[str]]:
        """The columns of `predictions/<split>.csv`, by name.

        Raises:
            UserError: the file is damaged.
        """
        path = self.checked(f"predictions/{split}.csv")
        try:
            with path.open(encoding="utf-8", newline="") as lines:
                header, *rows = csv.reader(lines)
            return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
        except (ValueError, csv.Error) as error:
            raise manifest.damaged(self.folder, f"predictions/{split}.csv", f"is damaged ({error})") from error

    def load_predictions(self, split: str) -> Predictions:
        """Read `predictions/<split>.csv` as `Predictions`.

        Raises:
            UserError: the file is damaged.
        """
        columns, multi_label = self.predictions(split), self.multi_label
        classes = [name.removeprefix("p_") for name in columns if name.startswith("p_")]
        labels = [parse_labels(cell) if multi_label else cell or None for cell in columns["label"]]
        index = {name: number for number, name in enumerate(classes)}
        decisions = np.zeros((len(labels), len(classes)), np.int8)
        for row, cell in enumerate(columns["prediction"]):
            names = parse_labels(cell) or [] if multi_label else [cell]
            if unknown := [name for name in names if name not in index]:
                problem = f"is damaged: {unknown[0]!r} is predicted, but there is no such class"
                raise manifest.damaged(self.folder, f"predictions/{split}.csv", problem)
            decisions[row, [index[name] for name in names]] = 1
        probabilities = np.array([columns[f"p_{name}"] for name in classes], dtype=np.float32).T
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
