"""The run folder: what a run leaves behind, written atomically, nothing pickled.

`config.yaml` · `history.jsonl` · `metrics.json` · `predictions/<split>.csv` · `model/` · `checkpoints/` · pictures ·
TensorBoard events. A folder with `metrics.json` is a finished run; one with `config.yaml` alone goes on.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recipes.config import UNDECIDING, rename_settings, renamed_settings
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.files import _remove, atomic_write, lock_folder
from recipes.runs.history import History

FORMAT = 2
# What has another name since the first format of `metrics.json`.
RENAMED_METRICS = {"onion": "seams", "kept": "weights"}


def label_cell(label: Any) -> str:
    """A label as `predictions/<split>.csv` has it; several are joined by `|`, none is empty."""
    return "|".join(label) if isinstance(label, list) else label or ""


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `id,label,prediction,p_<class>...`, in the data's own order."""
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["id", "label", "prediction", *(f"p_{name}" for name in predictions.classes)])
        for row, (name, chosen) in enumerate(zip(predictions.ids, predictions.names(), strict=True)):
            shares = (f"{share:.6g}" for share in predictions.probabilities[row])
            writer.writerow([name, label_cell(predictions.labels[row]), label_cell(chosen), *shares])


@dataclass
class RunFolder:
    """A run folder with its results."""

    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        return read_config(self.folder) or {}

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` holds."""
        values: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        if values.get("format") == 1:
            values = {RENAMED_METRICS.get(name, name): value for name, value in values.items()}
        return values

    @property
    def history(self) -> list[dict[str, Any]]:
        """A line for each update and each evaluation."""
        return History(self.folder / "history.jsonl").read()

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The lines of the updates alone; none where a run is made of others, or has no training loop."""
        return [line for line in self.history if "split" not in line]

    @property
    def splits(self) -> list[str]:
        """The splits that were predicted, validation first."""
        names = [path.stem for path in (self.folder / "predictions").glob("*.csv")]
        return sorted(names, key=lambda name: (name != "validation", name != "test", name))

    def predictions(self, split: str) -> dict[str, list[str]]:
        """The columns of `predictions/<split>.csv`, by name."""
        with (self.folder / "predictions" / f"{split}.csv").open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        return {name: [row[name] for row in rows] for name in rows[0]}

    def load_predictions(self, split: str) -> Predictions:
        """The same as they were made, with probabilities of six digits."""
        columns = self.predictions(split)
        classes = [name.removeprefix("p_") for name in columns if name.startswith("p_")]
        multi_label = "subset_accuracy" in self.metrics["validation"]

        def names(cell: str) -> Any:
            return [name for name in cell.split("|") if name] if multi_label else cell or None

        given = [names(cell) for cell in columns["prediction"]]
        decisions = np.array(
            [[name in (each if multi_label else [each]) for name in classes] for each in given], np.int8
        )
        shares = np.array([columns[f"p_{name}"] for name in classes], dtype=np.float32).T
        return Predictions(columns["id"], list(map(names, columns["label"])), shares, decisions, classes, multi_label)


def read_config(folder: Path) -> dict[str, Any] | None:
    """The config that a folder's run was started with; None where there is no run."""
    path = folder / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged; start over with resume=false, which keeps the folder aside.") from error
    return None if values is None else rename_settings(values, renamed_settings())


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder has ended."""
    return (folder / "metrics.json").is_file()


def finished_run(folder: str | Path) -> RunFolder:
    """A finished run from its folder.

    Raises:
        UserError: there is none.
    """
    if not is_finished(Path(folder)):
        raise UserError(f"{folder} holds no finished run (there is no metrics.json).")
    return RunFolder(Path(folder))


@contextmanager
def claim(folder: Path, values: dict[str, Any]) -> Iterator[None]:
    """Inside this context a folder is this config's own, and no other process works in it.

    Raises:
        UserError: it holds a run with other values, another process is at work there, or it cannot be written.
    """
    busy = f"hydra.run.dir={folder}: another process is training there; wait for it, or name another folder."
    if not values["resume"] and (folder / "config.yaml").exists():
        with lock_folder(folder, busy):
            _set_aside(folder)
    with lock_folder(folder, busy):
        for draft in folder.rglob(".*.tmp"):  # a kill leaves them
            _remove(draft)
        _settle(folder, {name: value for name, value in values.items() if name not in UNDECIDING})
        yield


def _settle(folder: Path, wanted: dict[str, Any]) -> None:
    """Write the folder's config, or see that it is the same one, or a shorter run of it."""
    load_predictions = read_config(folder)
    if load_predictions == wanted:
        return
    if load_predictions is not None:
        found = list(differences(load_predictions, wanted, ""))
        if not _only_longer(load_predictions, found):
            listing = "; ".join(f"{path}: {old} there, {new} here" for path, old, new in found)
            raise UserError(
                f"hydra.run.dir={folder} holds a run with other values ({listing}). Name another folder, start over "
                "with resume=false, or give it the same values (more epochs or updates are welcome where they change "
                "nothing of what is done: train.schedule=constant, train.warmup=0, no tricks)."
            )
        (folder / "metrics.json").unlink(missing_ok=True)
    with atomic_write(folder / "config.yaml") as draft:
        draft.write_text(yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _only_longer(load_predictions: dict[str, Any], found: Sequence[tuple[str, Any, Any]]) -> bool:
    """Whether a run differs by its end alone: no rate and no trick may depend on where that is."""
    plain = (
        load_predictions["train"]["schedule"] == "constant"
        and load_predictions["train"]["warmup"] == 0
        and not load_predictions["tricks"]
    )
    return plain and all(
        path in ("train.epochs", "train.max_updates") and None not in (old, new) and new > old
        for path, old, new in found
    )


def _set_aside(folder: Path) -> None:
    number = 1
    while (set_gradients_aside := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    folder.rename(set_gradients_aside)


def differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two trees of values differ: the path, what is there in one and in the other; None for nothing."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif old != new:
        yield path, old, new
