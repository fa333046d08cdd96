"""A linear baseline on the training rows, scored out of fold: how well words alone predict the labels."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from recipes.doctor.findings import Skip
from recipes.models.linear import is_chinese, join_pairs

MANY_CLASSES = 20
"""Above this many classes, SGD replaces logistic regression."""
MOST_ROWS = 4000
"""The probe is fitted on at most this many rows; more would take more than a few seconds."""


@dataclass(frozen=True)
class LinearProbe:
    """Rows with one label each, and the out-of-fold predictions of a linear model for them."""

    rows: Dataset
    texts: list[str]
    labels: list[str]
    classes: list[str]
    score: float
    """Accuracy."""
    probabilities: np.ndarray
    """(row, class)."""


def fit_linear_probe(rows: Dataset) -> LinearProbe:
    """Fit the linear probe on the training rows of all classes with at least three rows.

    Raises:
        Skip: there are too few rows or classes.
    """
    rows = sample_evenly(rows)
    labels = rows["label"][:]
    counts = Counter(labels)
    rows = rows.select([row for row, label in enumerate(labels) if counts[label] >= 3])
    labels = rows["label"][:]
    if len(set(labels)) < 2 or len(rows) < 30:
        raise Skip("there are too few rows for three folds")
    texts = join_pairs(rows["text"][:], rows["text_pair"][:])
    return LinearProbe(rows, texts, labels, sorted(set(labels)), *score_out_of_fold(texts, labels, 0))


def sample_evenly(rows: Dataset) -> Dataset:
    """At most `MOST_ROWS` rows, evenly spaced."""
    if len(rows) <= MOST_ROWS:
        return rows
    return rows.select(np.unique(np.linspace(0, len(rows) - 1, MOST_ROWS).astype(int)))


def score_out_of_fold(texts: Sequence[str], labels: Sequence[str], seed: int) -> tuple[float, np.ndarray]:
    """Predict each of three folds with a linear model that was fitted on the other two.

    Args:
        texts: one per row.
        labels: one per row; each label at least three times.
        seed: of the folds and of SGD.

    Returns:
        The accuracy, and the probabilities (row, class), with classes in sorted order.

    Raises:
        Skip: the texts have no words.
    """
    from sklearn.model_selection import StratifiedKFold  # late, as in `fit_words`

    targets = np.array(labels)
    classes = sorted(set(labels))
    probabilities = np.zeros((len(texts), len(classes)))
    for train, test in StratifiedKFold(3, shuffle=True, random_state=seed).split(targets, targets):
        predict = fit_words([texts[row] for row in train], [labels[row] for row in train], seed)
        columns = [classes.index(name) for name in sorted(set(targets[train]))]
        probabilities[np.ix_(test, columns)] = predict([texts[row] for row in test])
    is_right = np.array(classes)[probabilities.argmax(1)] == targets
    return float(is_right.mean()), probabilities


def fit_words(texts: Sequence[str], labels: Sequence[str], seed: int) -> Callable[[Sequence[str]], np.ndarray]:
    """Fit a linear model on words and pairs of words, or on characters of Chinese.

    Args:
        texts: one per row.
        labels: one per row.
        seed: of SGD.

    Returns:
        A function from texts to probabilities (row, class), with classes in sorted order.

    Raises:
        Skip: the texts have no words.
    """
    # Imported when a model is fitted: scikit-learn takes half a second, and the checks at a start need none of it.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, SGDClassifier

    analyzer = "char" if is_chinese(texts) else "word"
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), analyzer=analyzer, sublinear_tf=True, max_features=20_000)
    try:
        terms = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise Skip("there are no words to learn from") from error
    # Multinomial logistic regression takes minutes with a hundred classes; one-vs-rest SGD takes seconds.
    if len(set(labels)) > MANY_CLASSES:
        model = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=seed)
    else:
        model = LogisticRegression(C=10, max_iter=200)
    model.fit(terms, np.array(labels))

    def predict(texts: Sequence[str]) -> np.ndarray:
        probabilities: np.ndarray = model.predict_proba(vectorizer.transform(texts))
        return probabilities

    return predict
