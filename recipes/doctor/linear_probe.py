"""What words alone know of the labels: a linear model on rows that it has not seen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import StratifiedKFold

from recipes.doctor.findings import Skip
from recipes.models.linear import is_chinese, join_pairs

MANY_CLASSES = 20
MOST_ROWS = 4000
"""Rows from which it learns; more would take more than a few seconds."""


@dataclass(frozen=True)
class LinearProbe:
    """Rows with one label each, and what a linear model that was trained on the others says of each."""

    rows: Dataset
    texts: list[str]
    labels: list[str]
    classes: list[str]
    score: float
    """Share that is right."""
    shares: np.ndarray
    """Probabilities, (row, class)."""


def fit_linear_probe(rows: Dataset) -> LinearProbe:
    """The floor of training rows, those of classes with at least three.

    Raises:
        Skip: there are too few.
    """
    rows = sampled(rows)
    labels = rows["label"][:]
    counts = Counter(labels)
    rows = rows.select([row for row, label in enumerate(labels) if counts[label] >= 3])
    labels = rows["label"][:]
    if len(set(labels)) < 2 or len(rows) < 30:
        raise Skip("there are too few rows for three folds")
    texts = join_pairs(rows["text"][:], rows["text_pair"][:])
    return LinearProbe(rows, texts, labels, sorted(set(labels)), *score_out_of_fold(texts, labels, 0))


def sampled(rows: Dataset) -> Dataset:
    """At most `MOST_ROWS` of them, evenly."""
    if len(rows) <= MOST_ROWS:
        return rows
    return rows.select(np.unique(np.linspace(0, len(rows) - 1, MOST_ROWS).astype(int)))


def score_out_of_fold(texts: Sequence[str], said: Sequence[str], seed: int) -> tuple[float, np.ndarray]:
    """What a linear model has right of rows that it has not seen, and its probabilities, (row, class) in order."""
    analyzer = "char" if is_chinese(texts) else "word"
    targets = np.array(said)
    classes = sorted(set(said))
    shares = np.zeros((len(texts), len(classes)))
    for train, held in StratifiedKFold(3, shuffle=True, random_state=seed).split(targets, targets):
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), analyzer=analyzer, sublinear_tf=True, max_features=20_000)
        try:
            terms = vectorizer.fit_transform([texts[row] for row in train])
        except ValueError as error:
            raise Skip("there are no words to learn from") from error
        # All classes at once take minutes where there are a hundred.
        multi_label = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=seed)
        model = multi_label if len(classes) > MANY_CLASSES else LogisticRegression(C=10, max_iter=200)
        model.fit(terms, targets[train])
        found = model.predict_proba(vectorizer.transform([texts[row] for row in held]))
        shares[np.ix_(held, [classes.index(name) for name in model.classes_])] = found
    right = np.array(classes)[shares.argmax(1)] == targets
    return float(right.mean()), shares
