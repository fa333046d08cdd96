"""The run folder: all files of a run, written atomically, nothing pickled.

`config.yaml` · `history.jsonl` · `metrics.json` · `predictions/<split>.csv` · `model/` · `checkpoints/` · pictures ·
TensorBoard events. A folder with `metrics.json` is a finished run; a folder with `config.yaml` alone can be resumed.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recipes.config import UNDECIDING, add_newer_settings, rename_settings, renamed_settings
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.files import atomic_write, lock_folder, remove_draft
from recipes.runs.history import History

FORMAT = 2
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

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config; empty if there is none."""
        return read_config(self.folder) or {}

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The values of `metrics.json`, under the present names."""
        values: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        if values.get("format") == 1:
            values = {RENAMED_METRICS.get(name, name): value for name, value in values.items()}
        return values

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """A line for each update and each evaluation."""
        return History(self.folder / "history.jsonl").read()

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The lines of the updates alone; none if the run is fused from others, or has no training loop."""
        return [line for line in self.history if "split" not in line]

    @property
    def splits(self) -> list[str]:
        """The splits that were predicted: validation, then test, then the others by name."""
        names = [path.stem for path in (self.folder / "predictions").glob("*.csv")]
        return sorted(names, key=lambda name: (name != "validation", name != "test", name))

    def predictions(self, split: str) -> dict[str, list[str]]:
        """The columns of `predictions/<split>.csv`, by name."""
        with (self.folder / "predictions" / f"{split}.csv").open(encoding="utf-8", newline="") as lines:
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
        UserError: `config.yaml` is damaged.
    """
    path = folder / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged; start over with resume=false, which renames the old folder.") from error
    return None if values is None else add_newer_settings(rename_settings(values, renamed_settings()))


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run."""
    return (folder / "metrics.json").is_file()


def finished_run(folder: str | Path) -> RunFolder:
    """Open the folder of a finished run.

    Raises:
        UserError: it holds no finished run.
    """
    if not is_finished(Path(folder)):
        raise UserError(f"{folder} holds no finished run (there is no metrics.json).")
    return RunFolder(Path(folder))


@contextmanager
def claim(folder: Path, values: dict[str, Any]) -> Iterator[None]:
    """Inside this context the folder belongs to a run of this config, and no other process works in it.

    With `resume=false` the folder of an old run is renamed first.

    Args:
        folder: the run folder.
        values: the config as plain values.

    Raises:
        UserError: it holds a run with other values, another process works in it, or it cannot be written.
    """
    busy = f"hydra.run.dir={folder}: another process is training there; wait for it, or name another folder."
    if not values["resume"] and (folder / "config.yaml").exists():
        with lock_folder(folder, busy):
            _move_aside(folder)
    with lock_folder(folder, busy):
        for draft in folder.rglob(".*.tmp"):  # left by a killed process
            remove_draft(draft)
        _settle_config(folder, {name: value for name, value in values.items() if name not in UNDECIDING})
        yield


def _settle_config(folder: Path, config: dict[str, Any]) -> None:
    """Write the config of a new run, or check that the run in the folder can go on with it."""
    previous = read_config(folder)
    if previous == config:
        return
    if previous is not None:
        changes = list(differences(previous, config, ""))
        if not _is_only_longer(previous, changes):
            listing = "; ".join(f"{path}: {old} there, {new} here" for path, old, new in changes)
            raise UserError(
                f"hydra.run.dir={folder} holds a run with other values ({listing}). Name another folder, start over "
                "with resume=false, or give it the same values. More epochs or updates are allowed with "
                "train.schedule=constant, train.warmup=0 and no tricks."
            )
        # The run goes on, so it is no longer finished.
        (folder / "metrics.json").unlink(missing_ok=True)
    with atomic_write(folder / "config.yaml") as draft:
        draft.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _is_only_longer(previous: dict[str, Any], changes: Sequence[tuple[str, Any, Any]]) -> bool:
    """Whether the new run repeats the previous one and then trains on.

    That holds only if no learning rate and no trick depends on where the run ends.
    """
    is_independent_of_end = (
        previous["train"]["schedule"] == "constant" and previous["train"]["warmup"] == 0 and not previous["tricks"]
    )
    return is_independent_of_end and all(
        path in ("train.epochs", "train.max_updates") and None not in (old, new) and new > old
        for path, old, new in changes
    )


def _move_aside(folder: Path) -> None:
    """Rename a folder to `<name>.old1`, or the next number that is free."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    folder.rename(target)


def differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield where two trees of values differ: the dotted path, the old value and the new value, None if missing."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif old != new:
        yield path, old, new
