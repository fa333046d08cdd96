"""The linear baseline: TF-IDF and logistic regression, on the same data and with the same run folder.

The terms are 1- and 2-grams of words, or of characters if the text is Chinese; C = 10. `model/` holds the vocabulary as
JSON and the numbers as safetensors.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from safetensors.numpy import load_file, save_file

from recipes.data.splits import Splits
from recipes.errors import UserError
from recipes.metrics import Predictions

if TYPE_CHECKING:
    # Imported where a model is fitted or read: scikit-learn takes half a second, and most starts need none of it.
    from sklearn.feature_extraction.text import TfidfVectorizer

INVERSE_REGULARIZATION = 10.0
NEVER = -30.0
"""The logit of a class without training rows."""


def join_pairs(texts: Sequence[str], pairs: Sequence[str | None] | None) -> list[str]:
    """Join each text and its pair to one text."""
    return [f"{text} {pair}" if pair else text for text, pair in zip(texts, pairs or [None] * len(texts), strict=True)]


def is_chinese(texts: Sequence[str]) -> bool:
    """Whether most letters of a sample are Chinese characters."""
    letters = [letter for text in texts[:1000] for letter in text if letter.isalpha()]
    return sum("\u4e00" <= letter <= "\u9fff" for letter in letters) * 2 > len(letters)


class Linear:
    """A fitted linear baseline.

    Args:
        vectorizer: maps texts to TF-IDF rows.
        weights: (class, term); a single row if there are two classes, which are one binary problem.
        bias: (class), likewise.
        classes: the labels.
        multi_label: whether each class is a binary problem of its own.
    """

    def __init__(
        self,
        vectorizer: "TfidfVectorizer",
        weights: np.ndarray,
        bias: np.ndarray,
        classes: list[str],
        multi_label: bool,
    ) -> None:
        self.vectorizer, self.weights, self.bias = vectorizer, weights, bias
        self.classes, self.multi_label = classes, multi_label

    @classmethod
    def fit(cls, splits: Splits, seed: int) -> "Linear":
        """Fit on the training rows.

        Raises:
            UserError: no text has a word in it.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = join_pairs(splits.train["text"], splits.train["text_pair"])
        analyzer = "char" if is_chinese(texts) else "word"
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), analyzer=analyzer, dtype=np.float32)
        try:
            terms = vectorizer.fit_transform(texts)
        except ValueError as error:
            raise UserError(f"model=linear finds no words in data.text: {error}.") from error
        labels = list(splits.train["label"])
        problems: list[Any]
        if splits.multi_label:
            problems = [[name in label for label in labels] for name in splits.classes]
        else:
            class_index = {name: index for index, name in enumerate(splits.classes)}
            problems = [[class_index[label] for label in labels]]
        solutions = [_solve(terms, np.array(targets), seed) for targets in problems]
        weights, bias = np.concatenate([each[0] for each in solutions]), np.concatenate([each[1] for each in solutions])
        if not splits.multi_label:
            # A training part of a larger data set may lack some of its classes.
            present = sorted(set(problems[0]))
            if len(present) < len(splits.classes):
                weights, bias = _expand_to_all_classes(present, len(splits.classes), weights, bias)
        return cls(vectorizer, weights, bias, splits.classes, splits.multi_label)

    def predict_rows(self, rows: Dataset) -> Predictions:
        """Predict a split."""
        return self.predict(join_pairs(rows["text"], rows["text_pair"]), list(rows["id"]), list(rows["label"]))

    def predict(self, texts: Sequence[str], ids: Sequence[str], labels: Sequence[Any]) -> Predictions:
        """Predict texts; `ids` and `labels`, one a text, are passed on."""
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
        """Write the vocabulary and the numbers to a new folder."""
        folder.mkdir()
        vocabulary = {term: int(index) for term, index in self.vectorizer.vocabulary_.items()}
        settings = {"analyzer": self.vectorizer.analyzer, "classes": self.classes, "multi_label": self.multi_label}
        (folder / "linear.json").write_text(json.dumps({**settings, "vocabulary": vocabulary}), encoding="utf-8")
        numbers = {"weights": self.weights, "bias": self.bias, "idf": self.vectorizer.idf_}
        save_file(
            {name: np.ascontiguousarray(values) for name, values in numbers.items()}, folder / "linear.safetensors"
        )

    @classmethod
    def load(cls, folder: Path) -> "Linear":
        """Read a model that `save` wrote."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        settings = json.loads((folder / "linear.json").read_text(encoding="utf-8"))
        numbers = load_file(folder / "linear.safetensors")
        vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), analyzer=settings["analyzer"], vocabulary=settings["vocabulary"], dtype=np.float32
        )
        vectorizer.idf_ = numbers["idf"]
        return cls(vectorizer, numbers["weights"], numbers["bias"], settings["classes"], settings["multi_label"])


def _expand_to_all_classes(
    present: Sequence[int], count: int, weights: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add rows of the classes without training rows, which are then never predicted.

    Args:
        present: the indices of the classes with training rows.
        count: the number of all classes.
        weights: the solution for the classes that are present.
        bias: likewise.
    """
    if len(present) == 1:
        bias = np.array([-NEVER], np.float32)
    elif len(present) == 2:  # two classes are one problem
        weights, bias = np.concatenate([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
    all_weights, all_biases = np.zeros((count, weights.shape[1]), np.float32), np.full(count, NEVER, np.float32)
    all_weights[present], all_biases[present] = weights, bias
    return all_weights, all_biases


def _solve(terms: Any, targets: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    if len(set(targets)) == 1:  # every row has the label, or none has
        return np.zeros((1, terms.shape[1]), np.float32), np.array([-NEVER if targets[0] else NEVER], np.float32)
    solver = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000, random_state=seed).fit(terms, targets)
    return solver.coef_.astype(np.float32), solver.intercept_.astype(np.float32)
