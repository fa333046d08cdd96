"""The run folder: all files of a run, written atomically, nothing pickled.

`config.yaml` · `history.jsonl` · `metrics.json` · `predictions/<split>.csv` · `model/` · `checkpoints/` · pictures ·
TensorBoard events. A folder with `manifest.json` is a finished run; a folder without it can be resumed. Files of a
finished run are compared with its manifest when they are read.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from recipes.config import Config, add_newer_settings, rename_settings, renamed_settings, saved_config
from recipes.errors import UserError, unreadable
from recipes.metrics import Predictions
from recipes.runs import manifest
from recipes.runs.files import read_json
from recipes.runs.history import History
from recipes.runs.predictions import read_columns, read_predictions

FORMAT = 4
"""Of `metrics.json`. Since 3 a finished run has a manifest; since 4 its `health` says whether it learned."""
# A folder with one of these holds a run, if only a damaged one.
OF_A_RUN = (manifest.FILE, "metrics.json", "history.jsonl", "checkpoints", "predictions", "model")
# Parts of the config that hold settings of their own.
SECTIONS = ("tricks", *(item.name for item in fields(Config) if is_dataclass(item.type)))
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

    @classmethod
    def in_memory(cls, folder: Path, scored: Mapping[str, Predictions], metrics: Mapping[str, Any]) -> "RunFolder":
        """The results of a run that is about to be written into a folder, which has its history alone."""
        run = cls(folder)
        # In place of what the cached properties would read.
        run.__dict__ |= {"metrics": dict(metrics), "splits": list(scored)}
        run._loaded |= scored
        return run

    @cached_property
    def has_model(self) -> bool:
        """Whether the run has a model; with `checkpoint.save_model=false` it has scores and predictions alone."""
        files = manifest.read(self.folder)
        return files is None or self.is_published or any(name.startswith("model/") for name in files)

    @cached_property
    def is_published(self) -> bool:
        """Whether `trickbook export --hub` wrote it: the model lies at the top, where the hub expects it."""
        return "config.json" in (manifest.read(self.folder) or {})

    @property
    def model_folder(self) -> Path:
        """The folder of the model and its tokenizer."""
        return self.folder if self.is_published else self.folder / "model"

    def check_model(self) -> None:
        """Compare the files of the model with the manifest.

        Raises:
            UserError: one is damaged or missing.
        """
        if self.is_published:
            manifest.check(self.folder)
        else:
            self.checked("model")

    def require_model(self, setting: str = "") -> None:
        """Check that the run has a model.

        Args:
            setting: the setting that names the folder, for the message.

        Raises:
            UserError: it was finished without one.
        """
        if not self.has_model:
            raise UserError(
                f"{setting or self.folder} has no model, only scores and predictions (checkpoint.save_model=false, as "
                "studies and searches set it). To get the model, start its command again with "
                f"hydra.run.dir={self.folder} checkpoint.save_model=true: the run is trained again, to the same scores."
            )

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
    def health(self) -> dict[str, Any] | None:
        """Whether the run learned: a headline, the findings, and the comparison with the baselines.

        None for a run of an earlier version; `trickbook doctor <folder>` examines it.
        """
        health: dict[str, Any] | None = self.metrics.get("health")
        return health

    @cached_property
    def splits(self) -> list[str]:
        """The splits that were predicted: validation, then test, then the others by name."""
        files = manifest.read(self.folder)
        paths = (self.folder / "predictions").glob("*.csv") if files is None else map(Path, files)
        names = [path.stem for path in paths if path.parent.name == "predictions"]
        if (self.folder / "metrics.json").exists():  # a split without an entry there is none
            names = [name for name in names if name in self.metrics]
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
        return read_columns(self.checked(f"predictions/{split}.csv"))

    def load_predictions(self, split: str) -> Predictions:
        """Read `predictions/<split>.csv` as `Predictions`, from disk only once.

        Raises:
            UserError: the file is damaged.
        """
        if split not in self._loaded:
            path = self.checked(f"predictions/{split}.csv")
            self._loaded[split] = read_predictions(path, self.multi_label)
        return self._loaded[split]


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
    sections = {name: values[name] for name in SECTIONS if name in values}
    of_tricks = sections["tricks"] if isinstance(sections.get("tricks"), dict) else {}
    if wrong := [name for name, value in {**sections, **of_tricks}.items() if not isinstance(value, dict)]:
        raise manifest.damaged(folder, "config.yaml", f"is damaged: {wrong[0]} holds no settings")
    return add_newer_settings(rename_settings(values, renamed_settings()))


def main_split(metrics: Mapping[str, Any]) -> str:
    """The split that a run is reported on: test if it was scored, else validation.

    Args:
        metrics: the content of `metrics.json`.
    """
    return "test" if metrics.get("test") else "validation"


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run.

    Raises:
        UserError: its manifest is damaged; or it has none, and its `metrics.json` is damaged.
    """
    return manifest.read(folder) is not None or _is_finished_without_manifest(folder)


def has_diverged(folder: Path) -> bool:
    """Whether the run in a folder ended because it diverged: `metrics.json` says so, and there is no manifest."""
    if manifest.read(folder) is not None or not (folder / "metrics.json").exists():
        return False
    values = read_json(folder / "metrics.json")
    return isinstance(values, dict) and (values.get("health") or {}).get("headline") == "diverged"


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


def require_finished(folder: Path, setting: str = "") -> None:
    """Check that a folder holds a finished run.

    Args:
        folder: the folder.
        setting: the setting that names it, and its value, for the message.

    Raises:
        UserError: it holds no finished run, or its manifest is damaged.
    """
    if is_finished(folder):
        return
    if (folder / "config.yaml").exists():
        remedy = "start its command again, which finishes it, or give the folder of another one"
    else:
        example = f": {setting.partition('=')[0]}=runs/<name>" if setting else ", such as runs/<name>"
        remedy = f"give the folder of one{example}"
    raise UserError(f"{setting or folder} holds no finished run (there is no {manifest.FILE}); {remedy}.")


def finished_run(folder: str | Path, setting: str = "") -> RunFolder:
    """Open the folder of a finished run.

    Args:
        folder: the folder.
        setting: the setting that names it, and its value, for messages.

    Raises:
        UserError: it holds no finished run, or a damaged one.
    """
    require_finished(Path(folder), setting)
    run = RunFolder(Path(folder))
    try:
        label = saved_config(run.config).data.label
    except UserError as error:
        raise UserError(f"{setting or folder}: {' '.join(error.problems)}") from error
    if not all(isinstance(name, str) for name in (label if isinstance(label, list) else [label])):
        raise manifest.damaged(Path(folder), "config.yaml", "is damaged: data.label names no column")
    return run
