"""TF-IDF and logistic regression: the honest floor, with the same data in and the same run folder out.

Word 1- and 2-grams, or character ones where the text is Chinese; C = 10. `model/` holds the vocabulary as JSON and the
numbers as safetensors.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from recipes.data.splits import Splits
from recipes.errors import UserError
from recipes.metrics import Predictions

STRENGTH = 10.0
NEVER = -30.0
"""A logit of what no training row is, or none has."""


def join_pairs(texts: Sequence[str], pairs: Sequence[str | None] | None) -> list[str]:
    """A text and its pair as one."""
    return [f"{text} {pair}" if pair else text for text, pair in zip(texts, pairs or [None] * len(texts), strict=True)]


def is_chinese(texts: Sequence[str]) -> bool:
    """Whether most letters of a sample are Chinese characters."""
    letters = [letter for text in texts[:1000] for letter in text if letter.isalpha()]
    return sum("\u4e00" <= letter <= "\u9fff" for letter in letters) * 2 > len(letters)


class Linear:
    """A fitted floor.

    Args:
        vectorizer: turns texts into TF-IDF rows.
        weights: (class, term).
        bias: (class).
        classes: the labels.
        multi_label: one binary problem a class instead of one for all.
    """

    def __init__(
        self, vectorizer: TfidfVectorizer, weights: np.ndarray, bias: np.ndarray, classes: list[str], multi_label: bool
    ) -> None:
        """Keep the parts."""
        self.vectorizer, self.weights, self.bias = vectorizer, weights, bias
        self.classes, self.multi_label = classes, multi_label

    @classmethod
    def fit(cls, splits: Splits, seed: int) -> "Linear":
        """Fit on the training rows."""
        texts = join_pairs(splits.train["text"], splits.train["text_pair"])
        analyzer = "char" if is_chinese(texts) else "word"
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), analyzer=analyzer, dtype=np.float32)
        try:
            terms = vectorizer.fit_transform(texts)
        except ValueError as error:
            raise UserError(f"model=linear finds no words in data.text: {error}.") from error
        problems: list[Any] = [[name in label for label in splits.train["label"]] for name in splits.classes]
        if not splits.multi_label:
            number = {name: place for place, name in enumerate(splits.classes)}
            problems = [[number[label] for label in splits.train["label"]]]
        solved = [_solve(terms, np.array(targets), seed) for targets in problems]
        weights, bias = np.concatenate([each[0] for each in solved]), np.concatenate([each[1] for each in solved])
        if not splits.multi_label and len(there := sorted(set(problems[0]))) < len(splits.classes):
            weights, bias = _for_all_classes(there, len(splits.classes), weights, bias)
        return cls(vectorizer, weights, bias, splits.classes, splits.multi_label)

    def predict_rows(self, rows: Dataset) -> Predictions:
        """Predict a split."""
        return self.predict(join_pairs(rows["text"], rows["text_pair"]), list(rows["id"]), list(rows["label"]))

    def predict(self, texts: Sequence[str], ids: Sequence[str], labels: Sequence[Any]) -> Predictions:
        """Predict texts."""
        scores = self.vectorizer.transform(texts) @ self.weights.T + self.bias
        if self.multi_label:
            probabilities = 1 / (1 + np.exp(-scores))
            decisions = (probabilities >= 0.5).astype(np.int8)
        else:
            if scores.shape[1] == 1:  # two classes are one problem
                scores = np.concatenate([-scores / 2, scores / 2], axis=1)
            shifted = np.exp(scores - scores.max(1, keepdims=True))
            probabilities = shifted / shifted.sum(1, keepdims=True)
            decisions = np.eye(len(self.classes), dtype=np.int8)[probabilities.argmax(1)]
        return Predictions(ids, labels, probabilities, decisions, self.classes, self.multi_label)

    def save(self, folder: Path) -> None:
        """Write vocabulary and numbers."""
        folder.mkdir()
        vocabulary = {term: int(place) for term, place in self.vectorizer.vocabulary_.items()}
        settings = {"analyzer": self.vectorizer.analyzer, "classes": self.classes, "multi_label": self.multi_label}
        (folder / "linear.json").write_text(json.dumps({**settings, "vocabulary": vocabulary}), encoding="utf-8")
        numbers = {"weights": self.weights, "bias": self.bias, "idf": self.vectorizer.idf_}
        save_file(
            {name: np.ascontiguousarray(values) for name, values in numbers.items()}, folder / "linear.safetensors"
        )

    @classmethod
    def load(cls, folder: Path) -> "Linear":
        """Read what `save` wrote."""
        settings = json.loads((folder / "linear.json").read_text(encoding="utf-8"))
        numbers = load_file(folder / "linear.safetensors")
        vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), analyzer=settings["analyzer"], vocabulary=settings["vocabulary"], dtype=np.float32
        )
        vectorizer.idf_ = numbers["idf"]
        return cls(vectorizer, numbers["weights"], numbers["bias"], settings["classes"], settings["multi_label"])


def _for_all_classes(
    there: Sequence[int], count: int, weights: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows for all classes from those of the classes that a part of a data set has; the others are never answered."""
    if len(there) == 1:
        bias = np.array([-NEVER], np.float32)
    elif len(there) == 2:  # two classes are one problem
        weights, bias = np.concatenate([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
    all_weights, all_biases = np.zeros((count, weights.shape[1]), np.float32), np.full(count, NEVER, np.float32)
    all_weights[there], all_biases[there] = weights, bias
    return all_weights, all_biases


def _solve(terms: Any, targets: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if len(set(targets)) == 1:  # a label that every row has, or none
        return np.zeros((1, terms.shape[1]), np.float32), np.array([-NEVER if targets[0] else NEVER], np.float32)
    solver = LogisticRegression(C=STRENGTH, max_iter=1000, random_state=seed).fit(terms, targets)
    return solver.coef_.astype(np.float32), solver.intercept_.astype(np.float32)
