"""What a model must beat on validation: the majority class, and the linear baseline, fitted once for each data set.

The predictions of the linear baseline are cached on disk, by the contents of the training and validation rows.
"""

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recipes.data.cache import cache_folder
from recipes.data.splits import Splits
from recipes.errors import UserError
from recipes.metrics import Predictions, measure
from recipes.models.linear import Linear, is_chinese, join_pairs
from recipes.prediction.comparison import compare
from recipes.runs.files import atomic_write

VERSION = 1
"""Of the linear baseline. A change of how it is fitted needs another number, so that no old prediction is read."""
MAX_ROWS = 20_000
MAX_WORK = 2_000_000
"""Words, or Chinese characters, of the training rows times (classes + 2): about 15 seconds of one core."""


@dataclass(frozen=True)
class LinearBaseline:
    """The linear baseline of a data set."""

    validation: Predictions
    """Its predictions of the validation rows."""
    rows: int
    """Training rows that it was fitted on."""


def predict_majority(splits: Splits) -> Predictions:
    """Predict the label that most training rows have, with the frequencies of the labels as probabilities.

    For rows with more than one label it is the set of labels that most training rows have.
    """
    labels, rows = splits.train["label"][:], splits.validation
    sets = [frozenset(label) if splits.multi_label else frozenset([label]) for label in labels]
    # Of sets with equal counts the first one by name: the order of the rows decides nothing.
    counts = Counter(sets)
    majority = min(counts, key=lambda names: (-counts[names], sorted(names)))
    frequency = Counter(name for names in sets for name in names)
    probabilities = np.array([frequency[name] / len(sets) for name in splits.classes], np.float32)
    decisions = np.array([name in majority for name in splits.classes], np.int8)
    return Predictions(
        rows["id"][:],
        rows["label"][:],
        np.tile(probabilities, (len(rows), 1)),
        np.tile(decisions, (len(rows), 1)),
        splits.classes,
        splits.multi_label,
    )


def fit_linear_baseline(splits: Splits) -> LinearBaseline | None:
    """Predict the validation rows with `model=linear`, or read its predictions from the cache.

    None if no text has words. Many or long rows are fitted in part, evenly spaced (`MAX_ROWS`, `MAX_WORK`).
    """
    row_indices = _choose_rows(splits)
    labels, rows = splits.validation["label"][:], splits.validation
    numbers = _read(_cache_path(splits), (len(rows), len(splits.classes)))
    if numbers is None:
        try:
            fitted = Linear.fit(replace(splits, train=splits.train.select(row_indices)), seed=0).predict_rows(rows)
        except UserError:  # there are no words to learn from
            return None
        numbers = {"probabilities": fitted.probabilities.astype(np.float32), "decisions": fitted.decisions}
        # A cache that cannot be written costs time only.
        with suppress(UserError), atomic_write(_cache_path(splits)) as draft:
            save_file(numbers, draft)
    predictions = Predictions(
        rows["id"][:], labels, numbers["probabilities"], numbers["decisions"], splits.classes, splits.multi_label
    )
    return LinearBaseline(predictions, len(row_indices))


def _choose_rows(splits: Splits) -> np.ndarray:
    """The indices of the training rows that are fitted, evenly spaced: all of them, if that takes seconds."""
    count = len(splits.train)
    sample = splits.train.select(_spaced(count, 1000))
    texts = join_pairs(sample["text"][:], sample["text_pair"][:])
    # Asked once: the answer is about all texts, and takes a pass over them.
    has_words = not is_chinese(texts)
    terms = sum(text.count(" ") + 1 if has_words else len(text) for text in texts) / len(texts)
    most = int(MAX_WORK / (len(splits.classes) + 2) / max(terms, 1))
    return _spaced(count, max(2, min(MAX_ROWS, most)))


def _spaced(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _cache_path(splits: Splits) -> Path:
    # Not `sklearn.__version__`: where the cache has the predictions, scikit-learn is not imported.
    learner = version("scikit-learn")
    key = [VERSION, MAX_ROWS, MAX_WORK, learner, splits.multi_label, splits.classes, *splits.fingerprint]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return cache_folder() / "baselines" / f"{name}.safetensors"


def _read(path: Path, shape: tuple[int, int]) -> dict[str, np.ndarray] | None:
    """Read cached predictions; None if there are none, or only damaged ones."""
    try:
        numbers: dict[str, np.ndarray] = load_file(path)
    except (OSError, SafetensorError):
        return None
    expected = {"probabilities": shape, "decisions": shape}
    return numbers if {name: each.shape for name, each in numbers.items()} == expected else None


def compare_with_baselines(validation: Predictions, splits: Splits, metric: str, is_linear: bool) -> dict[str, Any]:
    """Compare a run's validation predictions with the linear baseline, or with the majority class if there is none.

    Args:
        validation: predictions of the run.
        splits: its data.
        metric: `evaluate.metric`.
        is_linear: whether the run is the linear baseline itself.

    Returns:
        `baselines`: the scores of each, by name; `against`: which one was compared on which metric, the difference with
        its interval, and the training rows that it was fitted on. `against` is None if there is nothing to compare.
    """
    majority, linear = predict_majority(splits), None if is_linear else fit_linear_baseline(splits)
    name, baseline = ("majority", majority) if linear is None else ("linear", linear.validation)
    improvement = compare(validation, baseline, metric)
    scores = {"majority": measure(majority), "linear": measure(linear.validation) if linear else None}
    against = {
        "baseline": name,
        "metric": metric,
        **(asdict(improvement) if improvement else {}),
        "fitted_on": linear.rows if linear else len(splits.train),
    }
    return {"baselines": scores, "against": against if improvement else None}
