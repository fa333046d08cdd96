"""The peers of the trick eda, imported late because they may not be installed."""

import importlib.util
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset

from recipes.toolkit.words import STOP_WORDS

# For all contestants: the fraction of the words that change, and the variants of each text.
RATE, VARIANTS = 0.1, 4

TimeAugmentation = Callable[[Dataset], float]
"""Augments rows and returns the seconds."""


def load_peers() -> dict[str, Mapping[str, TimeAugmentation]]:
    """The operations of each installed package."""
    loaders = {"nlpaug": load_nlpaug, "textaugment": load_textaugment}
    return {package: load() for package, load in loaders.items() if is_installed(package)}


def load_nlpaug() -> dict[str, TimeAugmentation]:
    import nltk
    from nlpaug.augmenter.word import RandomWordAug, SynonymAug

    # The tagger takes most of the time of a replacement, and needs another download. Without it a word may be any part
    # of speech.
    nltk.pos_tag = lambda tokens: [(token, "") for token in tokens]
    augmenters = {"swap": RandomWordAug(action="swap", aug_p=RATE), "delete": RandomWordAug(aug_p=RATE)}
    if has_nltk_wordnet():
        augmenters["replace"] = SynonymAug(aug_p=RATE)
    return {operation: make_timer(each.augment) for operation, each in augmenters.items()}


def load_textaugment() -> dict[str, TimeAugmentation]:
    import nltk

    # Its constructor downloads data that it may not need.
    nltk.download = lambda *_: True
    # The package needs gensim and googletrans, its EDA does not.
    package: Any = importlib.util.find_spec("textaugment")
    spec: Any = importlib.util.spec_from_file_location("textaugment_eda", Path(package.origin).with_name("eda.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    peer = module.EDA(stop_words=sorted(STOP_WORDS))

    def time_operation(operation: Callable[[str, int], str]) -> TimeAugmentation:
        return make_timer(lambda texts: [operation(text, max(1, round(RATE * len(text.split())))) for text in texts])

    timers = {
        "swap": time_operation(peer.random_swap),
        "delete": make_timer(lambda texts: [peer.random_deletion(text, RATE) for text in texts]),
    }
    return timers | ({"replace": time_operation(peer.synonym_replacement)} if has_nltk_wordnet() else {})


def make_timer(augment: Callable[[list[str]], Any]) -> TimeAugmentation:
    """Time a peer on all texts at once, its fastest way, once for each variant."""

    def measure(rows: Dataset) -> float:
        texts = list(rows["text"])
        start = time.process_time()
        for _ in range(VARIANTS):
            augment(texts)
        return time.process_time() - start

    return measure


def has_nltk_wordnet() -> bool:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        print("left out: replace; NLTK needs python -m nltk.downloader wordnet", file=sys.stderr)
        return False
    return True


def is_installed(package: str) -> bool:
    if importlib.util.find_spec(package):
        return True
    print(f"left out: {package}; pip install nltk, pip install --no-deps {package}", file=sys.stderr)
    return False
