"""The run folder: all files of a run, written atomically, nothing pickled.

`config.yaml` · `history.jsonl` · `metrics.json` · `predictions/<split>.csv` · `model/` · `checkpoints/` · pictures ·
TensorBoard events. A folder with `metrics.json` is a finished run; a folder with `config.yaml` alone can be resumed.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml

from recipes.config import UNDECIDING, rename_settings, renamed_settings
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.files import atomic_write, lock_folder, remove_draft
from recipes.runs.history import History

FORMAT = 2
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
        path = self.folder / "predictions" / f"{split}.csv"
        try:
            with path.open(encoding="utf-8", newline="") as lines:
                header, *rows = csv.reader(lines)
            return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
        except (ValueError, csv.Error) as error:
            raise _damaged_predictions(path, str(error)) from error

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
                path = self.folder / "predictions" / f"{split}.csv"
                raise _damaged_predictions(path, f"{unknown[0]!r} is predicted, but there is no such class")
            decisions[row, [index[name] for name in names]] = 1
        probabilities = np.array([columns[f"p_{name}"] for name in classes], dtype=np.float32).T
        return Predictions(columns["id"], labels, probabilities, decisions, classes, multi_label)


def _damaged_predictions(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is damaged ({reason}); copy it again, or train again with resume=false.")


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
    return None if values is None else rename_settings(values, renamed_settings())


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
