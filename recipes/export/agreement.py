"""Compare an exported model with `predict`, on texts of the run and on made-up ones."""

import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from recipes.config import Config
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.export.reader import Classifier
from recipes.prediction.predictors import Predictor

TEXTS, OWN_TEXTS = 200, 150
"""Texts that are compared, and how many of them are the run's own if its data can be read."""
TOLERANCE, SMALLEST_TOLERANCE = 1e-4, 5e-6
"""How far a probability may differ, relative to how far apart those of the texts are, and at least in any case.

That is rounding of 32 bits, in another order of operations. A model that gives all texts nearly the same probabilities
would hide larger mistakes than that.
"""
EDGE_CASES = ("", " ", "a", "😀", "好", "\n\t", "!!!", "ＡＢＣ１２３", "a\u200bb", "don't", "[SEP] [MASK] </s>")
WORDS = (
    "the film was not bad at all 2024 3.14 naïve café Straße 数据 很好 这家酒店不错 日本語 한국어 привет عربى "
    "😀 👩‍👩‍👧 !!! ... <b>bold</b> https://example.org/a?b=c unbelievably well-made e-mail #tag @name 50% $9.99"
).split()
LONGEST = 1500
"""Words of a made-up text."""


@dataclass(frozen=True)
class Agreement:
    """How well an exported model agrees with `predict`."""

    texts: int
    own_texts: int
    """How many of them are validation and test texts of the run."""
    largest_difference: float
    """Of any probability."""
    time_ratio: float
    """Time of the exported model relative to that of `predict`, on the same texts and machine."""


def texts_to_compare(config: Config, max_length: int) -> tuple[list[str], list[str] | None, int]:
    """Choose the texts: validation and test texts of the run, and made-up ones from empty to longer than an input.

    Args:
        config: of the run.
        max_length: tokens of an input.

    Returns:
        The texts, the second texts if the run reads pairs, and how many are the run's own.
    """
    own = _own_texts(config)
    synthetic = _synthetic_texts(TEXTS - len(own), max_length)
    pairs = synthetic[::-1]
    texts = [*(text for text, _ in own), *synthetic]
    return texts, [*(str(pair) for _, pair in own), *pairs] if config.data.text_pair else None, len(own)


def _own_texts(config: Config) -> list[tuple[str, str | None]]:
    rows: list[tuple[str, str | None]] = []
    with suppress(UserError):  # the data is not on this machine
        splits = read_splits(config.data, {}, True)
        for split in (splits.validation, splits.test):
            if split is not None:
                sample = split.select(np.unique(np.linspace(0, len(split) - 1, OWN_TEXTS).astype(int)))
                rows += zip(sample["text"], sample["text_pair"], strict=True)
    return rows[:: max(1, -(-len(rows) // OWN_TEXTS))]


def _synthetic_texts(count: int, max_length: int) -> list[str]:
    random = np.random.default_rng(0)
    texts = list(EDGE_CASES)
    for number in range(count - len(texts)):
        # Every tenth is longer than what the model reads at once.
        low, high = (max_length, 3 * max_length) if number % 10 == 9 else (1, 40)
        words = random.choice(WORDS, size=min(LONGEST, int(random.integers(low, high))))
        texts.append(" ".join(words))
    return texts


def compare(classifier: Classifier, predictor: Predictor) -> Agreement:
    """Compare an exported classifier with `predict` on 200 texts.

    Raises:
        UserError: a probability differs by more than rounding, or the predicted labels differ.
    """
    texts, pairs, own = texts_to_compare(predictor.config, predictor.max_length)
    ids = [str(number) for number in range(len(texts))]
    # The first batch of a session sets up its memory, and is not timed.
    classifier.probabilities(texts[:2], pairs and pairs[:2])
    predictor.predict(texts[:2], pairs and pairs[:2], ids[:2])
    began = time.perf_counter()
    actual = classifier.probabilities(texts, pairs)
    between = time.perf_counter()
    expected = predictor.predict(texts, pairs, ids)
    seconds = time.perf_counter() - between
    differences = np.abs(actual - expected.probabilities).max(1)
    tolerance = max(SMALLEST_TOLERANCE, TOLERANCE * float(np.ptp(expected.probabilities, axis=0).max()))
    if not differences.max() <= tolerance:
        worst = int(differences.argmax())
        raise UserError(
            f"The exported model does not agree with predict: a probability differs by {differences[worst]:.2g}, and "
            f"{tolerance:.1g} is allowed ({(~(differences <= tolerance)).sum()} of {len(texts)} texts differ by more; "
            f"the worst has {len(texts[worst])} characters). Nothing was written."
        )
    if (classifier.decide(expected.probabilities) != expected.decisions).any():
        raise UserError(
            "The exported model does not agree with predict: from the same probabilities it decides for other labels. "
            "Nothing was written."
        )
    return Agreement(len(texts), own, float(differences.max()), (between - began) / seconds)
