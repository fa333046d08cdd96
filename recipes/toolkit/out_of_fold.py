"""Predict training rows by models that were not trained on them: linear ones, or the runs of a finished fusion."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version

import numpy as np
from datasets import Dataset
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recipes.config import Data
from recipes.data import duplicates
from recipes.data.cache import cache_folder
from recipes.data.folds import group_linked_rows
from recipes.data.splits import Splits
from recipes.data.splitting import assign_folds
from recipes.errors import UserError
from recipes.models.linear import Linear
from recipes.runs.files import atomic_write, expand_home
from recipes.runs.folder import finished_run
from recipes.toolkit.warm_start import check_same_data

VERSION = 1
"""Of the linear folds. A change of how they are fitted needs another number, so that no old prediction is read."""
OUT_OF_FOLD = "out_of_fold"
DIGITS = 6
"""Of a probability: a difference in the last bit, from another number of threads, changes no decision."""


def predict_linear_folds(rows: Dataset, classes: Sequence[str], folds: int, seed: int, setting: str) -> np.ndarray:
    """Predict each fold by the linear baseline, fitted on the other folds, or read the probabilities from the cache.

    Duplicates, and rows of one source, are in one fold.

    Args:
        rows: rows with one label each.
        classes: the labels, in the order of the columns.
        folds: their number.
        seed: of the partition.
        setting: the setting that decides the number, and its value, for messages.

    Returns:
        Probabilities, (row, class).

    Raises:
        UserError: a class has fewer rows than there are folds, or the texts have no words.
    """
    texts = duplicates.fold_rows(rows)
    key = [VERSION, version("scikit-learn"), folds, seed, list(classes), texts, rows["source"][:], rows["label"][:]]
    path = cache_folder() / OUT_OF_FOLD / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.safetensors"
    with suppress(OSError, SafetensorError, KeyError):
        cached: np.ndarray = load_file(path)["probabilities"]
        if cached.shape == (len(rows), len(classes)):
            return cached
    probabilities = _fit_folds(rows, texts, classes, folds, seed, setting).round(DIGITS)
    # A cache that cannot be written costs time only.
    with suppress(UserError), atomic_write(path) as draft:
        save_file({"probabilities": probabilities}, draft)
    return probabilities


def _fit_folds(
    rows: Dataset, texts: Sequence[str], classes: Sequence[str], folds: int, seed: int, setting: str
) -> np.ndarray:
    _, text_numbers = np.unique(texts, return_inverse=True)
    everything = Splits(rows, rows, None, list(classes), False, groups=text_numbers)
    linked = group_linked_rows(everything)
    _, labels = np.unique(rows["label"][:], return_inverse=True)
    for number, name in enumerate(sorted(set(rows["label"][:]))):
        if (count := len(np.unique(linked[labels == number]))) < folds:
            rows_of_it = f"{count} different training {'row' if count == 1 else 'rows'}"
            remedy = f"use {count} folds at most" if count > 1 else "give it more rows, or leave the trick out"
            raise UserError(f"{setting}: the class {name!r} has {rows_of_it}; {remedy}.")
    groups = None if linked.max() + 1 == len(rows) else linked
    fold_of_row = assign_folds(labels, groups, folds, seed, setting)
    probabilities = np.zeros((len(rows), len(classes)))
    for fold in range(folds):
        held_out = np.flatnonzero(fold_of_row == fold)
        part = Splits(
            rows.select(np.flatnonzero(fold_of_row != fold)), rows.select(held_out), None, list(classes), False
        )
        try:
            probabilities[held_out] = Linear.fit(part, seed).predict_rows(part.validation).probabilities
        except UserError as error:
            raise UserError(
                f"{setting}: the texts have no words to predict labels from; leave the trick out."
            ) from error
    return probabilities


def read_ensemble_folds(folder: str, data: Data, rows: Dataset, classes: Sequence[str], setting: str) -> np.ndarray:
    """Read what the folds of a finished fusion predict for training rows.

    Args:
        folder: its run folder, as the user wrote it.
        data: the data of this run, which must be that of the fusion.
        rows: rows with one label each.
        classes: the labels, in the order of the columns.
        setting: the setting that names the folder, and its value, for messages.

    Returns:
        Probabilities, (row, class).

    Raises:
        UserError: it is no finished fusion of folds, or one of other data, labels or rows.
    """
    run = finished_run(expand_home(folder), setting)
    if not (run.folder / "predictions" / f"{OUT_OF_FOLD}.csv").is_file():
        raise UserError(
            f"{setting}: the run has no out-of-fold predictions; give the folder of a finished ensemble of "
            "at least two folds."
        )
    check_same_data(run, data, setting)
    predictions = run.load_predictions(OUT_OF_FOLD)
    row_of = {name: row for row, name in enumerate(predictions.ids)}
    labels = [predictions.labels[row_of[name]] if name in row_of else None for name in rows["id"][:]]
    wanted = zip(rows["id"][:], labels, rows["label"][:], strict=True)
    differing = [name for name, theirs, ours in wanted if theirs != ours]
    problem = ""
    if differing:
        problem = f"training rows such as id {differing[0]} ({len(differing)} in all) have no or another label there"
    elif set(predictions.classes) != set(classes):
        problem = "its labels are others"
    if problem:
        raise UserError(f"{setting}: {problem}; use an ensemble that was trained on the rows and labels of this run.")
    columns = [predictions.classes.index(name) for name in classes]
    probabilities: np.ndarray = predictions.probabilities[[row_of[name] for name in rows["id"][:]]][:, columns]
    return probabilities.astype(np.float64).round(DIGITS)
