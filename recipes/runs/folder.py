"""The run folder: all files of a run, written atomically, nothing pickled.

`config.yaml` · `history.jsonl` · `metrics.json` · `predictions/<split>.csv` · `model/` · `checkpoints/` · pictures ·
TensorBoard events. A folder with `metrics.json` is a finished run; a folder with `config.yaml` alone can be resumed.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from recipes.config import UNDECIDING, rename_settings, renamed_settings
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.files import atomic_write, lock_folder, remove_draft
from recipes.runs.history import History
from recipes.runs.predictions import read_columns, read_predictions

FORMAT = 2
# Keys that had another name in the first format of `metrics.json`.
RENAMED_METRICS = {"onion": "seams", "kept": "weights"}


@dataclass
class RunFolder:
    """A run folder with its results.

    `config`, `metrics` and `history` are read from disk once, at the first access. Make a new object to read a folder
    that has changed.
    """

    folder: Path
    _loaded: dict[str, Predictions] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        """The columns of `predictions/<split>.csv` as text, by name.

        Raises:
            UserError: the file is damaged.
        """
        return read_columns(self.folder / "predictions" / f"{split}.csv")

    def load_predictions(self, split: str) -> Predictions:
        """Read `predictions/<split>.csv` as `Predictions`, from disk only once.

        Raises:
            UserError: the file is damaged.
        """
        if split not in self._loaded:
            path = self.folder / "predictions" / f"{split}.csv"
            self._loaded[split] = read_predictions(path, self.multi_label)
        return self._loaded[split]


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
