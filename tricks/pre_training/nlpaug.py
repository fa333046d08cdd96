"""Nlpaug: add variants of each training row that augmenters of the package nlpaug make.

The original rows stay. A result is drawn again if it is empty or has the words of its source or of another variant.
After three draws per requested variant the row gets fewer. `augmenters` lists nlpaug's classes with their arguments; a
flow contains others: {_target_: nlpaug.flow.Sometimes, aug_p: 0.5, flow: [{_target_: ...}, ...]}.

nlpaug 1.1.11, of 2022, is no longer maintained. Tried with numpy 2.4, pandas 3.1, nltk 3.10 and transformers 5.23:
    work: char.KeyboardAug, OcrAug, RandomCharAug; word.SpellingAug, SplitAug, RandomWordAug, ReservedAug, TfIdfAug;
    flow.Sequential, Sometimes, one inside the other;
    works only in this trick: word.ContextualWordEmbsAug, which calls methods that transformers 5 has renamed; bert,
    roberta or distilbert from a folder with that name. With model_type=distilbert it is broken;
    work with NLTK's data (`NLTK_DATA` below): word.SynonymAug, AntonymAug. nlpaug itself downloads a tagger that nltk
    no longer uses;
    not tried: sentence.RandomSentAug (needs punkt_tab), word.WordEmbsAug (needs gensim), and generators of full texts:
    BackTranslationAug, AbstSummAug, LambadaAug, ContextualWordEmbsForSentenceAug.

Source: Ma 2019, github.com/makcedward/nlpaug; contextual words: Kobayashi 2018, arXiv 1805.06201; TF-IDF: Xie et al.
    2019, arXiv 1904.12848.
Cost: the added rows, in each epoch. Before it, once per cache entry, on a shared core and texts of 16 words: 2,200 to
    2,600 variants a second for characters, misspellings and swaps, 800 TF-IDF, 250 WordNet, 4 a 6-layer language model.
Use when: texts will have the errors that the augmenter makes (typing, misspelling, OCR) and training texts do not.
Avoid when: a pretrained encoder has thousands of rows: `duplicate` may gain as much. For plain word operations: nlpaug
    splits words at all other characters and joins them by spaces (don't -> don ' t); eda does not. For Chinese, which
    it does not split into words. AntonymAug if single words decide the label (the best movie -> the evil).
Composes: examples/add: after deduplicate, over rows that normalize has cleaned. Variants that eda has added vary too.
"""

import json
import os
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from recipes import Run, Trick, UserError, allowed
from recipes.compose.trust import explain_distrust, find_targets, import_class, is_listed, is_trusted, trusting
from recipes.errors import describe
from recipes.toolkit.augmentation import with_variants

PACKAGE = "nlpaug"
DRAWS = 3
NLTK_DATA = "python -m nltk.downloader wordnet omw-1.4 averaged_perceptron_tagger_eng punkt_tab"
# Runs of letters and digits; from the first Chinese radical on, each character is a word.
WORD = re.compile(r"[^\W\u2e80-\U0010ffff]+|\w")
# Methods that transformers 5 has renamed and nlpaug still calls.
RENAMED = {"_convert_token_to_id": "convert_tokens_to_ids", "_convert_id_to_token": "convert_ids_to_tokens"}
# Errors of outdated calls into other packages, or of missing data.
BROKEN = (AttributeError, ImportError, LookupError, NameError, RuntimeError, TypeError, ValueError)


@dataclass
class Nlpaug(Trick):
    """Add variants by the augmenters of nlpaug."""

    augmenters: list[dict[str, Any]] = allowed("")
    """Classes (`_target_`) with their arguments; applied one after the other."""
    variants: int = allowed(
        "[0, inf)",
        advised="[1, 4]",
        above="training takes many times as long, on texts that repeat one another",
    )
    """Variants of each row."""
    workers: int = allowed("[1, inf)")
    """Processes that make variants."""

    slots = {"examples": "add"}
    neutral = {"variants": 0}
    control = "more_rows"

    def __post_init__(self) -> None:
        """Refuse augmenters without a class before anything is loaded."""
        super().__post_init__()
        if not self.augmenters or not all("_target_" in each for each in self.augmenters):
            raise ValueError(
                "augmenters must each name their class, such as [{_target_: nlpaug.augmenter.word.SplitAug}]."
            )
        if problems := [*untrusted(self.augmenters, "augmenters")]:
            raise ValueError("\n".join(problems))

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Add the variants, and report their number."""
        if not self.variants:
            return inner(examples)
        settings = (json.dumps(self.augmenters, sort_keys=True), self.variants, *list_file_times(self.augmenters))
        rows = with_variants(
            examples,
            Augment(self.augmenters, self.variants, f"tricks.{self.name}.augmenters"),
            run.config.seed,
            "nlpaug",
            settings,
            self.workers,
        )
        count, requested = len(rows) - len(examples), self.variants * len(examples)
        fewer = f", {requested - count:,} fewer than requested: too little changed" if count < requested else ""
        run.note(f"{self.name}: {count:,} variants of {len(examples):,} training rows{fewer}.")
        return inner(rows)


class Augment:
    """Make variants of a text; each process loads the augmenters at its first call."""

    def __init__(self, settings: Sequence[Mapping[str, Any]], variants: int, path: str = "augmenters") -> None:
        self.settings, self.variants, self.path, self.process = settings, variants, path, os.getpid()
        # A worker process knows neither the command line nor who called.
        self.trusted = [target for target in find_targets(list(settings)) if is_listed(target)]

    @cached_property
    def chain(self) -> list[Any]:
        """The augmenters."""
        if os.getpid() != self.process:
            torch.set_num_threads(1)  # the threads of the parent process are missing after a fork: it would hang
        with seed_generators(0), trusting(self.trusted):
            return [load_augmenter(each, f"{self.path}[{index}]") for index, each in enumerate(self.settings)]

    def __call__(self, text: str, draws: random.Random) -> list[str]:
        """Draw until there are enough variants, or no draws are left."""
        chain, distinct, variants = self.chain, {(), words(text)}, list[str]()
        for _ in range(DRAWS * self.variants):
            with seed_generators(draws.getrandbits(32)):
                variant = apply_chain(chain, text, self.path)
            if words(variant) not in distinct:
                distinct.add(words(variant))
                variants.append(variant)
            if len(variants) == self.variants:
                break
        return variants


def apply_chain(chain: Sequence[Any], text: str, path: str) -> str:
    """Apply the augmenters one after the other; the result is empty if one returns nothing.

    Args:
        chain: the augmenters.
        text: any text.
        path: dotted path of the augmenters, for messages.

    Raises:
        UserError: one of them fails.
    """
    for index, augmenter in enumerate(chain):
        try:
            answer = augmenter.augment(text)
        except BROKEN as error:
            name = f"{path}[{index}]: {type(augmenter).__name__}"
            raise UserError(f"{name} fails on {text[:60]!r} with {explain_failure(error)}") from error
        while isinstance(answer, list):  # a flow inside a flow gives a list of lists
            answer = answer[0] if answer else ""
        text = answer
    return text


def words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case; texts with the same words are not distinct, since nlpaug moves white space."""
    return tuple(WORD.findall(text.casefold()))


def load_augmenter(settings: Mapping[str, Any], path: str) -> Any:
    """Make an augmenter from its class and arguments.

    Raises:
        UserError: a package or a file is missing, or the class or its arguments are wrong.
    """
    if problems := [*untrusted(settings, path)]:
        raise UserError(*problems)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from nlpaug.augmenter.word import spelling

            augmenter = construct(settings, path)
        if spelling.SPELLING_ERROR_MODEL:
            # These come from a set of strings, whose order differs from process to process.
            for candidates in spelling.SPELLING_ERROR_MODEL.dict.values():
                candidates.sort()
    except ModuleNotFoundError as error:
        raise UserError(f"{path} needs the package nlpaug ({error}); pip install 'trickbook[nlpaug]'.") from error
    except (*BROKEN, OSError) as error:
        raise UserError(f"{path}: {settings['_target_']} cannot be made: {explain_failure(error)}") from error
    finally:
        clear_stores()
    return augmenter


def untrusted(settings: Any, path: str) -> Iterator[str]:
    """A sentence for each class in the settings of augmenters that may not be imported."""
    for target in find_targets(settings):
        if not is_trusted(target, PACKAGE):
            yield explain_distrust(target, f"{path}: _target_")


def construct(settings: Any, path: str) -> Any:
    """Construct what the settings describe: an object where they name a class, otherwise the plain value."""
    if isinstance(settings, Mapping):
        arguments = {name: construct(value, path) for name, value in settings.items() if name != "_target_"}
        if "_target_" not in settings:
            return arguments
        return import_class(settings["_target_"], f"{path}: _target_", PACKAGE)(**arguments)
    return [construct(value, path) for value in settings] if isinstance(settings, list) else settings


def clear_stores() -> None:
    """Clear nlpaug's model caches, which return the model loaded first for any later request."""
    for name, module in list(sys.modules.items()):
        if name.startswith("nlpaug.augmenter."):
            for store in [each for each in vars(module) if each.endswith(("_MODEL", "_MODELS"))]:
                setattr(module, store, {})


@contextmanager
def seed_generators(number: int) -> Iterator[None]:
    """Inside this context the generators of nlpaug are seeded, and renamed methods have their old names too."""
    states = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        random.seed(number)
        np.random.seed(number)
        torch.default_generator.manual_seed(number)
        if devices:
            torch.cuda.manual_seed_all(number)
        for old, new in RENAMED.items():
            setattr(PreTrainedTokenizerFast, old, getattr(PreTrainedTokenizerFast, new))
        try:
            yield
        finally:
            for old in RENAMED:
                delattr(PreTrainedTokenizerFast, old)
            random.setstate(states[0])
            np.random.set_state(states[1])


def explain_failure(error: BaseException) -> str:
    """Describe the cause of an error and what to do."""
    if "NLTK Downloader" in str(error):
        return f"data of NLTK missing; get it by {NLTK_DATA}, or choose another augmenter."
    message = f"{type(error).__name__}: {describe(error)}"
    return f"{message} The top of tricks/pre_training/nlpaug.py lists which parts of nlpaug work."


def list_file_times(settings: object) -> list[float]:
    """Modification times of the files named in the settings: a retrained model makes other variants."""
    if isinstance(settings, Mapping):
        return list_file_times(list(settings.values()))
    if isinstance(settings, list):
        return [when for each in settings for when in list_file_times(each)]
    if isinstance(settings, str) and os.path.exists(settings):
        return [each.stat().st_mtime for each in sorted([Path(settings), *Path(settings).glob("*")])]
    return []
