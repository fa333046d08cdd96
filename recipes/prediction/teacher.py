"""A teacher: a finished run whose probabilities for other rows a run learns from.

Its probabilities are computed once and cached. The key is what they depend on: the contents of the model and of its
config, and the texts.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoConfig

from recipes.data.cache import cache_folder
from recipes.data.inputs import fingerprint
from recipes.errors import UserError, list_names
from recipes.metrics import Predictions
from recipes.models.linear import Linear
from recipes.models.loading import load_saved
from recipes.prediction import ensemble
from recipes.prediction.predictors import predict_once
from recipes.ranges import as_yaml
from recipes.runs.files import atomic_write, expand_home
from recipes.runs.folder import RunFolder, finished_run
from recipes.trick import Run

CACHE = "teachers"
MOST_CLASSES = 20
"""Classes that a message lists."""
# Settings of `data` that decide which rows are trained on.
SPLITTING = ("validation", "test", "group", "validation_fraction", "test_fraction", "split_seed", "fold")


class Teacher:
    """A finished run that predicts rows. Its model is loaded only for rows whose predictions are not cached.

    Args:
        folder: folder of the finished run, as the user wrote it.
        setting: dotted path of the setting that names the folder.

    Raises:
        UserError: the folder has no finished run, the run is damaged, or it has no model.
    """

    def __init__(self, folder: str | None, setting: str) -> None:
        if folder is None:
            raise UserError(f"{setting} is not set; give it the folder of a finished run: {setting}=runs/<name>.")
        self.setting, path = f"{setting}={folder}", expand_home(folder)
        self.run = finished_run(path, self.setting)
        self.run.require_model(self.setting)
        self.run.check_model()
        members = ensemble.read(path)
        self.members = [path / member for member in members.weights] if members else []
        self.classes = _read_classes(self.run, members)

    def require_task(self, classes: Sequence[str], multi_label: bool, in_pairs: bool) -> None:
        """Check that the teacher predicts what a run needs.

        Args:
            classes: the classes of the run, in any order.
            multi_label: whether a row of the run may have more than one label.
            in_pairs: whether the run reads pairs of texts.

        Raises:
            UserError: it was trained on another task; all differences together.
        """
        problems = []
        if set(self.classes) != set(classes):
            there, here = (list_names(names, MOST_CLASSES, quoted=False) for names in (self.classes, classes))
            sides = {"the teacher": (self.classes, classes), "this data": (classes, self.classes)}
            differences = [
                f"only {side} has {list_names(others, MOST_CLASSES)}"
                for side, (names, known) in sides.items()
                if (others := [name for name in names if name not in known])
            ]
            problems.append(
                f"{self.setting}: its classes are {there}, those of this data are {here}: {' and '.join(differences)}. "
                "Use a run that was trained on the same classes."
            )
        if self.run.multi_label != multi_label:
            counts = ("more than one label", "one label")
            there, here = counts if self.run.multi_label else counts[::-1]
            problems.append(
                f"{self.setting}: its rows may have {there}, those of this data {here}. Use a run of such data."
            )
        if bool(self.run.config["data"]["text_pair"]) != in_pairs:
            kinds = ("single texts", "pairs of texts")
            there, here = kinds if in_pairs else kinds[::-1]
            problems.append(
                f"{self.setting}: it was trained on {there}, and this data has {here}. Use a run of such data."
            )
        if problems:
            raise UserError(*problems)

    def check(self, run: Run) -> Iterator[str]:
        """Warn if the teacher learned nothing, or may have been trained on rows that evaluate a run."""
        if (self.run.health or {}).get("headline") == "collapsed":
            yield f"{self.setting}: it predicts one class for nearly all texts; use a run that learned."
        consequence = "it may have been trained on rows that evaluate this run, whose scores are then too good"
        if run.splits.is_fold:
            yield f"{self.setting}: this run is one fold of its data, so {consequence}; leave out the folds."
        own, theirs = asdict(run.config.data), self.run.config["data"]
        has_same_rows = all(own[name] == theirs.get(name) for name in ("source", "name", "subset", "train"))
        if has_same_rows and (other := [name for name in SPLITTING if own[name] != theirs.get(name)]):
            there, here = (values.get(other[0]) for values in (theirs, own))
            yield (
                f"{self.setting}: it split the same data otherwise (data.{other[0]}={as_yaml(there)} there, "
                f"{as_yaml(here)} here), so {consequence}; use a teacher with the same splits."
            )

    def predict(self, rows: Dataset, classes: Sequence[str]) -> Predictions:
        """Predict rows, or read their predictions from the cache.

        Args:
            rows: with the columns id, text and text_pair.
            classes: the classes of the teacher, in the order of the result.

        Raises:
            UserError: the model is damaged, or the cache cannot be written.
        """
        ids, in_pairs = list(rows["id"]), self.run.config["data"]["text_pair"]
        file = cache_folder() / CACHE / f"{self._identify(rows, classes)}.npz"
        if (cached := _read_cached(file)) is None:
            pairs = list(rows["text_pair"]) if in_pairs else None
            predicted = predict_once(self.run.folder, list(rows["text"]), pairs, ids)
            order = [list(predicted.classes).index(name) for name in classes]
            cached = predicted.probabilities[:, order], predicted.decisions[:, order]
            with atomic_write(file) as draft, draft.open("wb") as contents:
                np.savez(contents, *cached)
        probabilities, decisions = cached
        return Predictions(ids, [None] * len(ids), probabilities, decisions, classes, self.run.multi_label)

    def _identify(self, rows: Dataset, classes: Sequence[str]) -> str:
        """Hash all that the predictions depend on; their last digits also depend on the device and the precision."""
        digest = hashlib.sha256()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        settings = [fingerprint(folder / "config.yaml") for folder in (self.run.folder, *self.members)]
        for part in (fingerprint(self.run.folder), *settings, device, torch.get_default_dtype(), *classes):
            digest.update(f"{part}\0".encode())
        for text in (*rows["text"], *rows["text_pair"]):
            digest.update(f"{text!r}\0".encode())
        return digest.hexdigest()


def _read_cached(file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read probabilities and decisions; None where there is no file, or a damaged one."""
    try:
        with np.load(file) as cached:
            probabilities, decisions = cached.values()
    except (OSError, EOFError, ValueError, BadZipFile):
        return None
    return probabilities, decisions


def _read_classes(run: RunFolder, members: ensemble.Ensemble | None) -> list[str]:
    """The classes of a run, without loading its model."""
    if members:
        return members.classes
    if run.config["model"]["source"] == "linear":
        return Linear.load(run.model_folder).classes
    labels = load_saved(AutoConfig, run.model_folder).id2label
    return [labels[number] for number in range(len(labels))]


def soften(predictions: Predictions, temperature: float) -> np.ndarray:
    """Divide logits by a temperature, and compute their probabilities again, (row, class); above 1 these are more even.

    Logarithms of probabilities are logits but for a constant, which makes no difference.
    """
    logarithms = ensemble.log_probabilities(predictions)
    return ensemble.probabilities(logarithms / temperature, predictions.multi_label)
